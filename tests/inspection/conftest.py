"""Fixtures of the tests that open a page of `write_demo` in a browser."""

import pytest

import cuslayer as cs
from cuslayer.data import Digits
from tests.support.pages import Page
from tools import browser


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    if browser.find() is None:
        pytest.skip("no Chromium to open pages in")
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield Page(opened)


@pytest.fixture
def page(there, tmp_path):
    """Return a function that opens the page of a network; fail if the page leaves an error on its console."""

    def opened(net, **options):
        options = {"recordings": Digits("test")} | options
        there.open(cs.write_demo(net, tmp_path / "demo.html", **options))
        return there

    yield opened
    assert there.there.said == []
