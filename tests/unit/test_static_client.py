"""The browser client's static files through Django's storages: what they load is found under its name."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command
from django.test import override_settings

CLIENT = "channels_realtime/realtime"
FORMS = tuple(f"{CLIENT}{form}.js" for form in ("", ".min", ".global.min", "-elements.min"))
IMPORT = re.compile(r"""\bimport\(["'](\./[^"'?]+)""")


class AggregatingStorage(ManifestStaticFilesStorage):
    support_js_module_import_aggregation = True


@pytest.fixture(params=[ManifestStaticFilesStorage, AggregatingStorage])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ManifestStaticFilesStorage]:
    backend = f"{request.param.__module__}.{request.param.__qualname__}"
    with override_settings(
        STATIC_ROOT=str(tmp_path),
        STATIC_URL="/static/",
        STORAGES={"staticfiles": {"BACKEND": backend}},
    ):
        call_command("collectstatic", interactive=False, verbosity=0)
        yield request.param(location=str(tmp_path), base_url="/static/")


def test_what_the_client_imports_is_served_under_that_name(
    storage: ManifestStaticFilesStorage,
) -> None:
    folder = Path(storage.location) / "channels_realtime"
    for form in FORMS:
        served = Path(storage.location) / storage.stored_name(form)
        assert served.name.count(".") > form.count(".")  # it has a hash
        for imported in IMPORT.findall(served.read_text()):
            assert (folder / imported).is_file(), f"{served.name} imports {imported}"
            hashed = bool(re.search(r"\.[0-9a-f]{12}\.js$", imported))
            assert hashed == storage.support_js_module_import_aggregation, imported
