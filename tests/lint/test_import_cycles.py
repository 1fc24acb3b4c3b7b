"""Tests of import_cycles.py, on small crates in a temporary folder."""

import tempfile
import unittest
from pathlib import Path

import import_cycles


class ImportCycles(unittest.TestCase):
    def cycles(self, **files):
        """The cycles of a crate, as lists of file names. `a__b` is the file `a/b.rs`."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                file = Path(folder, name.replace("__", "/") + ".rs")
                file.parent.mkdir(exist_ok=True)
                file.write_text(text)
            crate = import_cycles.load(Path(folder, "lib.rs"))
            cycles = import_cycles.cycles_of(crate, import_cycles.imports_of(crate))
            return [sorted(str(file.relative_to(folder)) for file in cycle) for cycle in cycles]

    def test_two_siblings(self):
        lib = "mod a; mod b;"
        pair = [["a.rs", "b.rs"]]
        self.assertEqual(self.cycles(lib=lib, a="use crate::b::B; struct A;", b="struct B;"), [])
        self.assertEqual(
            self.cycles(lib=lib, a="use crate::b::B; struct A;", b="use super::{a::A, c}; struct B;"), pair
        )
        self.assertEqual(
            self.cycles(lib=lib, a="use crate::b; fn f() { b::g() }", b="fn g() { crate::a::f() }"), pair
        )

    def test_a_module_file_and_what_it_contains(self):
        lib = "mod x; mod b;"
        module = "mod c; mod d; pub use c::C; use d::D; struct X;"
        allowed = {
            "lib": lib,
            "x__mod": module,
            "x__c": "use super::{D, X}; pub struct C;",
            "x__d": "pub struct D(crate::x::X);",
        }
        self.assertEqual(self.cycles(**allowed, b=""), [])
        outside = dict(allowed, x__mod=module + "use crate::b::B;", x__d="pub struct D;")
        self.assertEqual(self.cycles(**outside, b="pub struct B;"), [])
        self.assertEqual(self.cycles(**outside, b="use crate::x::D; pub struct B;"), [])
        by_way_of_it = self.cycles(**outside, b="use crate::x::C; pub struct B;")
        self.assertEqual(by_way_of_it, [["b.rs", "x/c.rs", "x/mod.rs"]])

    def test_two_folders(self):
        cycles = self.cycles(
            lib="mod x; mod y;",
            x__mod="mod a; mod b; pub(crate) use self::a::A;",
            x__a="use crate::y::D as E; pub struct A;",
            x__b="use super::A;",
            y__mod="mod d; pub use d::D;",
            y__d="pub struct D { a: crate::x::A }",
        )
        self.assertEqual(cycles, [["x/a.rs", "y/d.rs"]])

    def test_items_of_inline_modules_and_of_macros(self):
        inline = "pub mod names { pub const A: u8 = super::super::b::B; }"
        self.assertEqual(
            self.cycles(lib="mod a; mod b;", a=inline, b="use crate::a::names; const B: u8 = names::A;"),
            [["a.rs", "b.rs"]],
        )
        self.assertEqual(
            self.cycles(lib="mod a; mod b;", a="id!(A); use crate::b::B;", b="id!(B); use crate::a::A;"),
            [["a.rs", "b.rs"]],
        )

    def test_what_is_no_import(self):
        ignored = [
            '// use crate::a::A;\nconst X: &str = "crate::a::A";',
            "#[cfg(test)] use crate::a::A; ",
            "#[cfg(test)] mod tests { use crate::a::A; fn f() { { } } }",
            "use crate::a; use serde::a::A; fn f() -> impl Sized + use<> {}",
            "pub(in crate::a) struct C<'a>(&'a str, char); const Q: char = '\"';",
        ]
        for text in ignored:
            with self.subTest(text):
                cycles = self.cycles(lib="mod a; mod b;", a="use crate::b::B; pub struct A;", b=text + "struct B;")
                self.assertEqual(cycles, [])
                cycles = self.cycles(
                    lib="mod a; mod b;", a="use crate::b::B; pub struct A;", b=text + "struct B(crate::a::A);"
                )
                self.assertEqual(cycles, [["a.rs", "b.rs"]])


if __name__ == "__main__":
    unittest.main()
