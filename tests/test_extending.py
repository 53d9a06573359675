"""What docs/extending.md promises, tried."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import instantiate

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")


def test_the_regularizer_of_the_page_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocks = dict(re.findall(r"```(python|yaml)\n(.*?)```", PAGE, re.DOTALL)[:2])
    (tmp_path / "mypackage.py").write_text(blocks["python"])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mypackage", raising=False)
    regularizer = instantiate(yaml.safe_load(blocks["yaml"]))
    assert (regularizer.name, regularizer.weight_decay, regularizer.dropout) == (
        "decorrelation",
        0.0,
        0.0,
    )
    torch.manual_seed(0)
    one = torch.randn(500, 1)
    independent, copies = torch.randn(500, 4), one.expand(500, 4)
    network = torch.nn.Identity()
    apart, together = (regularizer.penalty(network, d, d).item() for d in (independent, copies))
    assert apart < 0.1
    assert together == pytest.approx(12 * one.var().item() ** 2, rel=1e-4)
