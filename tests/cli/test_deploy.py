"""`cuslayer export-c` and `cuslayer quantize` on a short run."""

import json
import re

import pytest

pytestmark = pytest.mark.all


def test_export_c_writes_the_network_or_its_twin(command, finished):
    code, out, _ = command("export-c", finished)
    assert code == 0
    assert "net.c, net.h" in out
    assert "float" in (finished / "net.h").read_text().split("typedef struct")[1]
    code, out, _ = command("export-c", finished, "--bits", "8", "--states", "32", "--name", "whole", "--json")
    assert code == 0
    assert "int32_t layer" in (finished / "whole.h").read_text()
    assert "static const int8_t whole_weight_0" in (finished / "whole.c").read_text()
    assert json.loads(out)["ram"] > 0
    code, _, err = command("export-c", finished, "--bits", "9")
    assert code != 0
    assert "weights must be 2 to 8 bits, got 9" in err


def test_quantize_shows_each_width_and_draws_them(command, finished):
    code, out, _ = command("quantize", finished, "--bits", "8", "3")
    assert code == 0
    assert re.findall(r"^(float|\d bits): loss", out, re.M) == ["float", "8 bits", "3 bits"]
    assert (finished / "quantize.png").stat().st_size
    code, out, _ = command("quantize", finished, "--bits", "8", "--json")
    rows = json.loads(out)
    assert [row["bits"] for row in rows] == [None, 8]
    assert rows[1]["flash"] < rows[0]["flash"]
    assert set(rows[1]["moved"]) == {"1 SRM", "3 SRM"}
