"""Linux in the lab, copied while it runs: its device vmgenid has each copy take random numbers of its own.
``VMRUN_LAB_COPIES`` is the number of copies."""

import gzip
import json
import os
import re
import sys

import pytest

from tests.guests import debian, initrd
from tests.lab.labruns import HERE, stayed
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak]

COPIES = int(os.environ.get("VMRUN_LAB_COPIES", "5"))


@pytest.fixture(scope="module", params=["6.1-generic", "6.12-cloud"])
def texts(request, tmp_path_factory):
    """What each copy printed."""
    out = tmp_path_factory.mktemp("generation")
    entries = initrd.busybox((HERE / "generation-init").read_bytes())
    (out / "initrd").write_bytes(gzip.compress(initrd.archive(entries), mtime=0))
    sets = (f"boot.kernel={debian.kernel(request.param).bzimage}", f"boot.initrd={out / 'initrd'}")
    spec = HERE / "generation.toml"
    Document.open(spec, sets).plan()  # unpacks the kernel into the cache
    (out / "linux.json").write_text(json.dumps({"spec": str(spec), "overrides": sets}))
    inside = (sys.executable, HERE / "inside" / "generation.py", out, str(COPIES))
    stayed("--timeout", "30m", "--share", out, "--", *map(str, inside))
    found = json.loads((out / "copies.json").read_text())
    print(f"{COPIES} copies took {found['seconds']:.2f} s")
    return found["texts"]


def test_each_copy_is_told_that_it_is_one(texts):
    assert ["crng reseeded due to virtual machine fork" in text for text in texts] == [True] * COPIES, texts


def test_each_copy_goes_on_with_random_numbers_of_its_own(texts):
    """From the second one that it shows: it may have taken the first before."""
    numbers = [dict(re.findall(r"random (\d+) (\w+)", text)) for text in texts]
    for one in set.intersection(*(set(each) - {min(each, key=int)} for each in numbers)):
        assert len({each[one] for each in numbers}) == COPIES
    assert min(len(each) for each in numbers) > 2
