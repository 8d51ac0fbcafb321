"""What a name in a list of exemplars means: lists call photos by paths, by file names or by ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from mcltool.plugin.contract import IMAGE_SUFFIXES


class Names:
    """What the names in a list mean. called: one or more sequences of names of the same things.

    A thing is meant by its whole name, with or without an image's suffix and whatever folders a list puts before
    it; else by the end of its name, as a bare file name.
    """

    def __init__(self, *called: Sequence[str]) -> None:
        self._called = called
        self._whole = _Index((name, n) for names in called for n, name in enumerate(names))

    @cached_property
    def _by_end(self) -> _Index:
        return _Index((name.rpartition("/")[2], n) for names in self._called for n, name in enumerate(names))

    def find(self, name: str) -> tuple[int, ...]:
        """Numbers of the things that ``name`` may mean: one, none or several."""
        if found := self._whole.get(name):
            return found
        name = name.strip().replace("\\", "/").removeprefix("./")
        bare, dot, suffix = name.rpartition(".")
        forms = (name, bare) if dot + suffix.lower() in IMAGE_SUFFIXES else (name,)
        for cut in range(name.count("/") + 1):
            for form in forms:
                if found := self._whole.get(form.split("/", cut)[-1]):
                    return found
        ends = {n for form in forms for n in self._by_end.get(form.rpartition("/")[2]) if self._ends(n, form)}
        return tuple(sorted(ends))

    def _ends(self, number: int, form: str) -> bool:
        return any(f"/{names[number]}".endswith(f"/{form}") for names in self._called)


class _Index:
    """Numbers by name: a dict of whole numbers, as most names have one; what few have several is apart."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        self._first: dict[str, int] = {}
        self._several: dict[str, set[int]] = {}
        for name, number in pairs:
            first = self._first.setdefault(name, number)
            if first != number:
                self._several.setdefault(name, {first}).add(number)

    def get(self, name: str) -> tuple[int, ...]:
        if name in self._several:
            return tuple(sorted(self._several[name]))
        return (self._first[name],) if name in self._first else ()
