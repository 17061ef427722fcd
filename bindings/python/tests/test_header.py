# SPDX-License-Identifier: Apache-2.0
"""The binding says what the headers say: every function with its arguments, every constant, every struct's size. The
headers are read anew here, so a function that is added to them and not to the binding fails."""

import ctypes
import glob
import os
import re
import unittest

import lib
import weft
from weft import _errors, _ffi


def headers():
    text = ""
    for path in ("selector/include/weft_qos.h", "fabric/include/weft.h"):
        with open(os.path.join(lib.SOURCE, path)) as header:
            text += header.read()
    return re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))


TEXT = headers()
ENUM_NAMES = set(re.findall(r"}\s*(weft_[a-z_]+);", re.sub(r"typedef struct \w+ {.*?}\s*\w+;", "", TEXT, flags=re.S)))
CALLBACK_NAMES = set(re.findall(r"\(\*(weft_[a-z_]+_cb)\)", TEXT))


def kind_of(declaration):
    """A C type as the binding must have it: "pointer", "text" (const char *), or its width and sign."""
    words = re.sub(r"\[[^]]*\]", "*", declaration)
    if "*" in words:
        return "text" if re.match(r"\s*const\s+char\s*\*[^*]*$", words) else "pointer"
    base = re.sub(r"\bconst\b", "", words).split()
    if base[0] in CALLBACK_NAMES:
        return "pointer"
    if base[0] in ENUM_NAMES:
        return ("int", 4)
    known = {
        "void": "none", "int": ("int", 4), "int32_t": ("int", 4), "unsigned": ("unsigned", 4),
        "uint32_t": ("unsigned", 4), "size_t": ("unsigned", 8), "uint64_t": ("unsigned", 8),
    }  # fmt: skip
    return known[base[0]]


def kind_of_ctype(ctype):
    if ctype is None:
        return "none"
    if ctype is ctypes.c_void_p:
        return "pointer"
    if ctype is ctypes.c_char_p:
        return "text"
    return ("int" if ctype(-1).value < 0 else "unsigned", ctypes.sizeof(ctype))


def split(arguments):
    arguments = arguments.strip()
    return [] if arguments in ("", "void") else [a.strip() for a in arguments.split(",")]


def same(declared, bound):
    # A `const char *` may be bound as an address where its owner matters; nothing else may differ.
    return declared == bound or (declared == "text" and bound == "pointer")


def functions():
    found = {}
    for result, name, arguments in re.findall(r"WEFT_EXPORT\s+([\w\s*]+?)\s*\b(weft_\w+)\s*\(([^;]*)\)\s*;", TEXT):
        found[name] = (kind_of(result), [kind_of(a) for a in split(arguments)])
    return found


class Header(unittest.TestCase):
    def test_every_function_is_bound_as_declared(self):
        declared = functions()
        self.assertGreaterEqual(len(declared), 55, "the headers were not understood")
        self.assertEqual(len(declared), len(re.findall(r"^WEFT_EXPORT", TEXT, flags=re.M)))
        self.assertEqual(set(declared), set(_ffi.FUNCTIONS))
        for name, (result, arguments) in declared.items():
            bound_result, bound = _ffi.FUNCTIONS[name]
            with self.subTest(name):
                self.assertTrue(same(result, kind_of_ctype(bound_result)), f"result: {result}")
                self.assertEqual(len(arguments), len(bound))
                for i, (want, got) in enumerate(zip(arguments, bound)):
                    self.assertTrue(same(want, kind_of_ctype(got)), f"argument {i + 1}: {want}, bound as {got}")

    def test_both_views_of_the_library_are_declared(self):
        for opened in (_ffi.lib, _ffi.slow):
            for name, (result, arguments) in _ffi.FUNCTIONS.items():
                self.assertIs(getattr(opened, name).restype, result, name)
                self.assertEqual(tuple(getattr(opened, name).argtypes), arguments, name)

    def test_callbacks(self):
        declared = dict(re.findall(r"typedef void \(\*(weft_\w+_cb)\)\(([^;]*)\);", TEXT))
        self.assertEqual(set(declared), set(_ffi.CALLBACKS))
        for name, arguments in declared.items():
            want = ["none"] + [kind_of(a) for a in split(arguments)]
            got = [kind_of_ctype(c) for c in _ffi.CALLBACKS[name]]
            self.assertEqual(len(want), len(got), name)
            self.assertTrue(all(map(same, want, got)), f"{name}: {want}, bound as {got}")

    def test_error_codes(self):
        declared = {name: int(code) for name, code in re.findall(r"XX\((E\w+), (-\d+),", TEXT)}
        self.assertGreaterEqual(len(declared), 11)
        self.assertEqual(declared, _ffi.ERRNO)
        for name, code in declared.items():
            self.assertEqual(_errors.err_name(code), "WEFT_" + name)
            self.assertEqual(getattr(_errors, name), code, f"weft.{name}")
        for name in ("EOF", "EAGAIN", "EBUSY", "EALREADY", "ECANCELED", "ECONNREFUSED", "ECONNRESET", "EMSGSIZE",
                     "ENOBUFS", "ENOENT", "ENOTCONN", "EINVAL", "ETIMEDOUT", "EPIPE"):  # fmt: skip
            self.assertEqual(_errors.err_name(getattr(_errors, name)), "UV_" + name)

    def test_enums_and_macros(self):
        found = {}
        for body, name in re.findall(r"enum\s*{([^}]*)}\s*(\w*)\s*;", TEXT):
            if "#define" in body:
                continue  # the error codes
            value, members = -1, {}
            for member in filter(None, (m.strip() for m in body.split(","))):
                key, _, given = (part.strip() for part in member.partition("="))
                base, _, shift = given.partition("<<")
                value = int(base) << int(shift or 0) if given else value + 1
                members[key] = value
            found[name] = members
        self.assertGreaterEqual(len(found), 7)
        self.assertEqual(found, _ffi.ENUMS)
        macros = {k: int(v) for k, v in re.findall(r"^#define (WEFT_\w+) +(\d+)\s*$", TEXT, flags=re.M)}
        version = tuple(macros.pop(f"WEFT_VERSION_{part}") for part in ("MAJOR", "MINOR", "PATCH"))
        self.assertEqual(macros, _ffi.MACROS)
        self.assertEqual(version[:2], _ffi.WANTED)
        text = ".".join(map(str, version))
        self.assertEqual(weft.__version__, text)
        with open(os.path.join(lib.SOURCE, "bindings/python/pyproject.toml")) as project:
            self.assertIn(f'version = "{text}"', project.read())
        for code, name in ((v, k) for k, v in _ffi.ENUMS["weft_why"].items()):
            self.assertEqual(_ffi.lib.weft_why_name(code).decode(), name)

    def test_struct_sizes_are_the_librarys(self):
        for name, struct in _ffi.STRUCTS.items():
            self.assertEqual(ctypes.sizeof(struct), _ffi.size(name), name)
        for name in _ffi.ENUMS["weft_size_id"]:
            self.assertGreater(_ffi.size(name[len("WEFT_SIZE_") :]), 0, name)
        self.assertEqual(_ffi.lib.weft_size(9999), 0)

    def test_struct_fields_are_the_headers(self):
        names = {"VERDICT": "weft_verdict_s", "EVENT": "weft_event_s", "QOS": "weft_qos_s", "PEER": "weft_peer_s",
                 "OPTS": "weft_opts_s"}  # fmt: skip
        for name, tag in names.items():
            body = re.search(r"struct %s {(.*?)}" % tag, TEXT, flags=re.S).group(1)
            declared = [re.search(r"(\w+)(\[\w+\])?\s*$", field).group(1) for field in body.split(";") if field.strip()]
            bound = [field[0].rstrip("_") for field in _ffi.STRUCTS[name]._fields_]
            self.assertEqual(declared, bound, name)

    def test_no_prototype_outside_ffi(self):
        for path in glob.glob(os.path.join(lib.SOURCE, "bindings/python/weft/*.py")):
            with open(path) as source:
                text = source.read()
            if not path.endswith("_ffi.py"):
                self.assertNotRegex(text, r"\.(argtypes|restype)\b", path)
            for name in re.findall(r"\b(?:lib|slow)\.(weft_\w+)", text):
                self.assertIn(name, _ffi.FUNCTIONS, path)


class Library(unittest.TestCase):
    """Which library is loaded, and what is said when none is."""

    def load(self, **environment):
        import subprocess
        import sys

        env = {**os.environ, **environment}
        done = subprocess.run([sys.executable, "-c", "import weft; print(weft.library_version)"], env=env,
                              capture_output=True, text=True)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def test_folder_and_file(self):
        library = _ffi.lib._name
        for where in (library, os.path.dirname(library)):
            self.assertEqual(self.load(WEFT_LIBRARY=where)[0], 0, where)

    def test_missing(self):
        code, said = self.load(WEFT_LIBRARY="/nowhere/libweft.so.0")
        self.assertNotEqual(code, 0)
        self.assertIn("ImportError: libweft was not found", said)
        self.assertIn("/nowhere/libweft.so.0", said)

    def test_something_else(self):
        with self.assertRaisesRegex(ImportError, "needs 0.1.x"):
            _ffi._check_version("/somewhere/libweft.so.0", "1.2.3")
        with self.assertRaisesRegex(ImportError, "is Weft rubbish"):
            _ffi._check_version("/somewhere/libweft.so.0", "rubbish")


if __name__ == "__main__":
    unittest.main()
