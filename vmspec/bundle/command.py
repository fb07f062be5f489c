"""``vmspec bundle`` and ``vmspec unbundle``."""

from pathlib import Path

from attrs import evolve

from vmspec.bundle import SUFFIX
from vmspec.bundle.archive import bundle
from vmspec.bundle.gathering import Gathered, gather
from vmspec.bundle.packing import Known, pack
from vmspec.bundle.unpacking import unbundle
from vmspec.document import Document
from vmspec.host.commandline import complain
from vmspec.host.pathtext import to_text
from vmspec.host.printable import printable
from vmspec.host.progress import progress
from vmspec.lock import command, images, taking
from vmspec.lock.drift import compare
from vmspec.lock.host import HostUnknownError, facts
from vmspec.lock.model import Lock
from vmspec.lock.taking import Taken
from vmspec.lock.text import LockText, dumps
from vmspec.plan.plan import Plan
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.tables import write_model
from vmspec.spec import fileuse
from vmspec.spec.fileuse import Named, lock_path

CHANGED, UNKNOWN = 1, 3  # exit statuses


def write(document: Document, output: Path | None, reference: Path | None) -> int:
    """Write the bundle of a spec; return the exit status. Raises SpecError for a wrong spec or lock and for files that
    no bundle can have, OSError if the bundle cannot be written."""
    plan = document.plan()
    assert plan.path is not None
    output = Path(f"{plan.path.stem}{SUFFIX}") if output is None else output
    gathered = gather(document, plan, reference)
    _check_output(output, plan, gathered)
    path = lock_path(plan.path)
    before = LockText.open(path) if path.is_symlink() or path.exists() else None
    try:
        host = facts(plan.cpu) if before is None else before.lock.host
    except HostUnknownError as error:
        complain("vmspec", error)
        return UNKNOWN
    # Each file is hashed, searched for holes, and packed.
    with progress("packing", 3 * sum(images.size(file) for file in set(gathered.files.values()))) as advance:
        taken = taking.take(plan, write_model(host), advance)
        if before is not None and (changes := compare(before.lock, taken.lock)):
            musts = [change for change in changes if change.weight == "must"]
            if musts:
                command.say(before, musts)
                complain("vmspec", f"no bundle was written; to replace the lock: vmspec lock --update {plan.path}")
                return CHANGED
        found = list(taking.of(plan))
        known = {image.path: Known(taken.versions[image.path], taken.lock.images[image.name].sha256) for image in found}
        lock = dumps(_moved(taken, plan, gathered), gathered.spec)
        manifest = pack(output, gathered, lock, known, advance)
    count = len(manifest.files)
    print(printable(f"{output}: {count} files, {output.stat().st_size:,} bytes"))
    return 0


def read(path: Path, output: Path | None) -> int:
    """Open a bundle into a folder; return the exit status. Raises SpecError for a wrong bundle, OSError if the folder
    cannot be written."""
    output = Path(path.name.removesuffix(SUFFIX)) if output is None else output
    with bundle(path) as opened, progress("unpacking", opened.size) as advance:
        unbundle(opened, output, advance)
        spec = output / opened.manifest.spec
    print(printable(f"{spec}: {len(opened.manifest.files)} files in {output}"))
    return 0


def _check_output(output: Path, plan: Plan, gathered: Gathered) -> None:
    """Raise SpecError if the bundle would overwrite what it is made of."""
    if output.suffix != SUFFIX:
        raise SpecError((Problem("", f"a bundle's name ends in {SUFFIX}, by which vmrun knows it", file=output),))
    assert plan.path is not None
    inputs = [plan.path, lock_path(plan.path), *gathered.files.values()]
    names = [Named("an input of the bundle", path) for path in inputs]
    for _, message in fileuse.conflicts(fileuse.uses([*names, Named("-o", output, writes=True)])):
        raise SpecError((Problem("", message, file=output),))


def _moved(taken: Taken, plan: Plan, gathered: Gathered) -> Lock:
    """The lock with the paths that the images have in the bundle."""
    names = {path: name for name, path in gathered.files.items()}
    places = {image.name: names[image.path] for image in taking.of(plan)}
    moved = {
        name: evolve(image, path=to_text(places.get(name, image.path))) for name, image in taken.lock.images.items()
    }
    return evolve(taken.lock, images=moved)
