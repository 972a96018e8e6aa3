"""One tiny seed for all tests of DiffS4L."""

from __future__ import annotations

import pytest

from tests.diffs4l.builders import Seed, write_seed


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """Eight clips of four speakers with all that speech is made from."""
    return write_seed(tmp_path_factory.mktemp("seed"))
