"""One stand for all tests of the session: its programs take seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.envoy.stand import Stand


@pytest.fixture(scope="session")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(tmp_path_factory.mktemp("envoy"), stack)
