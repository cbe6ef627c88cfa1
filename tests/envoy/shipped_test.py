"""What is shipped is what `pdp doctor` would have."""

from __future__ import annotations

import pytest

from pdp.doctor.envoy import lint_envoy
from tools.programs import SHIPPED


@pytest.mark.parametrize("name", ["http.yaml", "tcp.yaml"])
def test_the_doctor_finds_nothing_in_the_shipped_configuration(name: str) -> None:
    assert lint_envoy((SHIPPED / name).read_text("utf-8"), name) == []
