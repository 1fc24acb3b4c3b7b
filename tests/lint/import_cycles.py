#!/usr/bin/env python3
"""Finds import cycles between the source files of a product crate. Run by `make lint`.

    tests/lint/import_cycles.py [ROOT]

Prints each cycle with the imports that tie it, and exits with 1 if there is any. ROOT is the
workspace, by default the repository of this file. Every member is checked except SKIPPED.

An import is a `use` declaration, or a path in the code such as `crate::config::load()`. It runs
from the file that names an item to the file that defines it: re-exports are followed.
These are no imports:
  - code below `#[cfg(test)]`;
  - a path to a module itself, as `use crate::config;` (the paths that begin with it count);
  - a re-export (`pub use`) by a module file of an item from a file that it contains;
  - a method call: a method may be implemented in any file;
  - a glob (`use x::*`): clippy refuses it.

A module file (`lib.rs`, `main.rs`, `mod.rs`) contains the files of all modules declared below it.
It may use them, and they may use the items that it defines. So one kind of cycle is allowed: it
runs through the module file that contains all its other files. Every other cycle is reported,
such as two siblings or two folders that import each other, directly or by way of a module file.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

SKIPPED = {"tests", "bench"}
DEFINING = {"struct", "enum", "union", "trait", "fn", "type", "const", "static"}
CFG_TEST = ["#", "[", "cfg", "(", "test", ")", "]"]
TOKEN = re.compile(
    r"""//[^\n]* | /\*.*?\*/                             # comments
      | b?r(\#*)".*?"\1 | b?"(?:\\.|[^"\\])*"            # strings
      | b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])' | '\w+     # characters, lifetimes
      | use\s*<[^>]*>                                    # captures of an `impl Trait`
      | (?P<token> (?:r\#)?[A-Za-z_]\w* | :: | [\#!()\[\]{};,*] )""",
    re.VERBOSE | re.DOTALL,
)


class Module:
    """A module: a file, or a `mod name { ... }` inside one."""

    def __init__(self, file, parent=None):
        self.file = file
        self.lineage = [self, *(parent.lineage if parent else [])]  # up to the crate root
        self.children = {}  # name -> Module
        self.defined = set()  # names of items
        self.uses = {}  # name -> path
        self.imports = []  # (path, is_public)

    def subtree(self):
        yield self
        for child in self.children.values():
            yield from child.subtree()

    def find(self, name, is_last, seen):
        """What a name stands for here: a Module, (Module, item), or None: not of this crate."""
        child = self.children.get(name)
        if (self, name) in seen or child and not is_last:
            return child
        if name in self.defined:
            return self, name
        path = self.uses.get(name)
        return path and resolve(self, path, seen | {(self, name)}) or child

    def declare(self, name):
        """Reads the file of the module `name`, which this file declares."""
        is_module_file = self.file.name in ("lib.rs", "main.rs", "mod.rs")
        folder = self.file.parent if is_module_file else self.file.with_suffix("")
        file = folder / f"{name}.rs"
        self.children[name] = load(file if file.exists() else folder / name / "mod.rs", self)


def resolve(module, path, seen=frozenset()):
    """Follows a path, such as ["crate", "config", "load"], from a module. Returns as `find`."""
    found = module
    for i, name in enumerate(path):
        if not isinstance(found, Module):  # an item: what follows is its variant or function
            return found
        if name == "crate":
            found = module.lineage[-1]
        elif name == "super":
            found = found.lineage[1]
        elif name != "self":
            inside = found.find(name, i == len(path) - 1, seen)
            is_from_macro = not inside and i > 0 and name not in found.uses
            found = (found, name) if is_from_macro else inside
    return found


def load(file, parent=None):
    """Reads a file, and the files of all modules declared below it."""
    module = Module(file, parent)
    tokens = [match["token"] for match in TOKEN.finditer(file.read_text()) if match["token"]]
    read_module([*tokens, ";", ";"], 0, len(tokens), module)
    return module


def read_module(tokens, at, end, module):
    depth, is_public = 0, False
    while at < end:
        token, following = tokens[at], tokens[at + 1]
        if token == "pub":
            is_public, at = True, after_group(tokens, at + 1) if following == "(" else at + 1
            continue
        if tokens[at : at + 7] == CFG_TEST:
            at = after_item(tokens, at + 7, end)
        elif token == "use":
            at = read_use(tokens, at + 1, [], module, is_public)
        elif token == "mod" and depth == 0 and tokens[at + 2] == "{":
            child = module.children[following] = Module(module.file, module)
            body, at = at + 3, after_group(tokens, at + 2)
            read_module(tokens, body, at - 1, child)
        elif token == "mod" and depth == 0:
            module.declare(following)
            at += 2
        elif is_name(token) and following == "::" and tokens[at - 1] != "::":
            path, at = [token], at + 1
            while tokens[at] == "::" and is_name(tokens[at + 1]):
                path.append(tokens[at + 1])
                at += 2
            module.imports.append((path, False))
        else:
            if token in DEFINING and depth == 0:
                module.defined.add(following)
            elif token == "macro_rules":
                module.defined.add(tokens[at + 2])
            depth += (token == "{") - (token == "}")
            at += 1
        is_public = False


def read_use(tokens, at, prefix, module, is_public):
    """Reads one tree of a `use` declaration, and returns where it ends."""
    path = list(prefix)
    while tokens[at] == "::" or is_name(tokens[at]) and tokens[at] != "as":
        path += [tokens[at]] if tokens[at] != "::" else []
        at += 1
    if tokens[at] == "{":
        at += 1
        while tokens[at] != "}":
            at = read_use(tokens, at, path, module, is_public)
            at += tokens[at] == ","
        return at + 1
    if tokens[at] == "*":
        return at + 1
    path = path[:-1] if path[-1] == "self" and len(path) > 1 else path
    name, at = (tokens[at + 1], at + 2) if tokens[at] == "as" else (path[-1], at)
    module.uses[name] = path
    module.imports.append((path, is_public))
    return at


def is_name(token):
    return token[0].isalpha() or token[0] == "_"


def after_group(tokens, at):
    """The place behind the bracket that closes the one at `at`."""
    depth = 0
    while True:
        depth += (tokens[at] in "([{") - (tokens[at] in ")]}")
        at += 1
        if depth == 0:
            return at


def after_item(tokens, at, end):
    """The place behind the item that begins at `at`."""
    while at < end and tokens[at] not in ("}", ";"):
        is_body = tokens[at] == "{" and tokens[at - 1] != "::"
        at = after_group(tokens, at) if tokens[at] in "([{" else at + 1
        if is_body:
            return at
    return at + (tokens[at] == ";")


def imports_of(crate):
    """The imports of a crate: file -> file -> names."""
    imports = defaultdict(lambda: defaultdict(set))
    for module in crate.subtree():
        for path, is_public in module.imports:
            found = resolve(module, path)
            if isinstance(found, tuple):
                target, name = found
                is_own_reexport = is_public and module in target.lineage
                if target.file != module.file and not is_own_reexport:
                    imports[module.file][target.file].add(name)
    return imports


def cycles_of(crate, imports):
    """The cycles that are not allowed, each as a set of files."""
    cycles = []
    for container in crate.subtree():
        # Each file below the container -> the container's direct child that it belongs to.
        below = [module for module in container.subtree() if module.file != container.file]
        child_of = {module.file: module.lineage[-len(container.lineage) - 1] for module in below}
        for cycle in connected(child_of, imports):
            is_across = len({child_of[file] for file in cycle}) > 1
            if is_across and not any(cycle <= known for known in cycles):
                cycles.append(cycle)
    return cycles


def connected(files, imports):
    """The strongly connected components among some files."""
    reach = {}
    for file in files:
        reach[file], todo = set(), [file]
        while todo:
            new = {other for other in imports[todo.pop()] if other in files} - reach[file]
            reach[file] |= new
            todo += new
    components = {frozenset(b for b in reach[a] if a in reach[b]) for a in files}
    return sorted(components - {frozenset()}, key=min)


def main(root):
    text = (root / "Cargo.toml").read_text()
    members = re.search(r"^members = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)[1]
    count = 0
    for member in sorted(set(re.findall(r'"(.*?)"', members)) - SKIPPED):
        for entry in filter(Path.exists, (root / member / "src" / n for n in ("lib.rs", "main.rs"))):
            crate = load(entry)
            imports = imports_of(crate)
            for cycle in cycles_of(crate, imports):
                count += 1
                print(f"import cycle of {len(cycle)} files in {member}:")
                for file in sorted(cycle):
                    for other in sorted(cycle & imports[file].keys()):
                        names = ", ".join(sorted(imports[file][other]))
                        print(f"  {file.relative_to(root)} -> {other.relative_to(root)}: {names}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()))
