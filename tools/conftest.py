from __future__ import annotations

from tests.conftest import _fresh as _fresh
