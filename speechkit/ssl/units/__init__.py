"""Discrete units for HuBERT: features, k-means, the units of a corpus, and how good they are."""

from speechkit.ssl.units.features import mfcc
from speechkit.ssl.units.file import Units, begin_units, write_units
from speechkit.ssl.units.kmeans import KMeans, KMeansConfig, fit_kmeans
from speechkit.ssl.units.program import UnitsConfig, make_units
from speechkit.ssl.units.report import UnitsReport

__all__ = [
    "KMeans",
    "KMeansConfig",
    "Units",
    "UnitsConfig",
    "UnitsReport",
    "begin_units",
    "fit_kmeans",
    "make_units",
    "mfcc",
    "write_units",
]
