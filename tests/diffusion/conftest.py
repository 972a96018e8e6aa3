"""One tiny corpus for all tests of the generator's training."""

from __future__ import annotations

import pytest

from tests.facodec.builders import TinyData, tiny_data


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    """Eight clips of two speakers, aligned and encoded."""
    return tiny_data(tmp_path_factory.mktemp("corpus"))
