"""More speech from a little (DiffS4L, step 3): a seed corpus spoken anew at four levels.

Only this folder of `ssl` knows the codec and the generator.
"""

from speechkit.ssl.augment.config import AugmentConfig
from speechkit.ssl.augment.plan import LEVELS, Job, make_plan
from speechkit.ssl.augment.pool import Pool
from speechkit.ssl.augment.program import AugmentReport, augment_corpus

__all__ = [
    "LEVELS",
    "AugmentConfig",
    "AugmentReport",
    "Job",
    "Pool",
    "augment_corpus",
    "make_plan",
]
