#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""api_pages.py - the API's man pages, section 3, out of the comments of the public headers.

    api_pages.py OUTDIR HEADER...    replaces OUTDIR/*.3

One page for each section of a header ("/* ---- Sending ---- */"), named by PAGES below, and for each function and type
a page that leads to its section's. A declaration takes the comment above it; declarations without a blank line between
them share one. A function without any, or a section that PAGES does not name, is an error: the header is the
manual."""

import os
import re
import sys

# section of the header: page, what NAME says of it
PAGES = {
    "": ("weft_api", "conventions of Weft's C interface"),
    "Errors": ("weft_strerror", "error codes, their names and texts; the library's version"),
    "Types": ("weft_types", "handles, requests and callbacks"),
    "Options of a context": ("weft_opts", "limits and times of a context"),
    "Context": ("weft_context", "start, drive and close Weft on an event loop"),
    "Addresses": ("weft_url_parse", "addresses and needs in a URL"),
    "Listening": ("weft_listen", "wait for peers and take them"),
    "Connecting": ("weft_connect", "make and end a connection"),
    "Sending": ("weft_send", "send messages, and end in order"),
    "Receiving": ("weft_recv", "receive messages and keep them"),
    "Watching": ("weft_event", "what happens to a connection"),
    "Asking": ("weft_conn_info", "what carries a connection, and why not something else"),
    "Capabilities": ("weft_candidates", "what this machine could use"),
    "Memory": ("weft_mem", "memory that is sent without a copy"),
    "Log and sizes": ("weft_log", "the log, and sizes for bindings"),
    "Needs": ("weft_qos", "what a connection needs"),
    "Verdicts": ("weft_verdict", "the selector's answer for one candidate"),
}

# libuv's codes that the headers name; Weft's own have their text in weft.h
UV = {
    "UV_EACCES": "permission denied",
    "UV_EADDRINUSE": "the address is in use",
    "UV_EADDRNOTAVAIL": "this machine has no such address",
    "UV_EAGAIN": "not now",
    "UV_EAI_*": "the name cannot be looked up",
    "UV_EALREADY": "it has been done, or is under way",
    "UV_EBUSY": "in use",
    "UV_ECANCELED": "canceled, or the handle is closing",
    "UV_ECONNREFUSED": "nobody listens there",
    "UV_ECONNRESET": "the peer has closed the connection, or its process has ended",
    "UV_EHOSTUNREACH": "nothing leads there",
    "UV_EINVAL": "an argument makes no sense here",
    "UV_EMFILE": "out of file descriptors",
    "UV_EMSGSIZE": "the message is too large",
    "UV_ENOBUFS": "too small, or refused by the receiver",
    "UV_ENOENT": "there is no such thing",
    "UV_ENOMEM": "out of memory",
    "UV_ENOTCONN": "not connected",
    "UV_EOF": "the peer has shut down: no more messages",
    "UV_EPIPE": "sending after weft_shutdown",
    "UV_ETIMEDOUT": "it took too long",
}


def fatal(text):
    sys.exit(f"api_pages.py: {text}")


# --- the headers -------------------------------------------------------------------------------------------------


class Decl:
    """One declaration: `kind` is function, struct, enum or other (callbacks, forward typedefs)."""

    def __init__(self, text):
        self.text = text
        bare = re.sub(r"/\*.*?\*/", "", text, flags=re.S).strip()
        names = []
        if bare.startswith("WEFT_EXPORT"):
            self.kind = "function"
            names = re.findall(r"\b(weft_\w+)\s*\(", bare)[:1]
        elif bare.startswith("typedef") and "(*" in bare:
            self.kind = "other"
            names = re.findall(r"\(\*\s*(weft_\w+)\)", bare)[:1]
        else:
            self.kind = "other"
            if "{" in bare and "\n" in text.strip():
                self.kind = "enum" if re.match(r"(typedef )?enum\b", bare) else "struct"
            names = re.findall(r"(weft_\w+)\s*;$", bare)
        self.name = names[0] if names else ""
        if self.kind == "function" and not self.name:
            fatal(f"no name in: {bare}")


class Group:
    """A comment and the declarations under it."""

    def __init__(self, comment):
        self.comment = comment
        self.decls = []


def comment_text(lines):
    text = "\n".join(lines).strip()
    text = re.sub(r"^/\*", "", text)
    text = re.sub(r"\*/$", "", text)
    return "\n".join(re.sub(r"^ \*( |$)", "", line) for line in text.strip("\n").split("\n")).strip()


def parse(path):
    """[(section, [group])] of one header."""
    lines = open(path, encoding="utf-8").read().split("\n")
    sections = [("", [])]
    group = None  # open until a blank line
    i = 0
    while i < len(lines):
        line = lines[i]
        start = i
        heading = re.match(r"/\* ---- (.*?) -+ \*/$", line)
        if heading:
            sections.append((heading.group(1), []))
            group = None
        elif line.startswith("/*"):
            while "*/" not in lines[i]:
                i += 1
            comment = comment_text(lines[start:i + 1])
            if not comment.startswith("SPDX"):
                group = Group(comment)
                sections[-1][1].append(group)
        elif line.startswith("#define WEFT_ERRNO_MAP"):
            while lines[i].endswith("\\"):
                i += 1
        elif line.startswith("#") or line in ("", '}', 'extern "C" {'):
            while lines[i].endswith("\\"):
                i += 1
            if line == "":
                group = None
        else:
            depth = 0
            while True:  # to the semicolon that is in no brace
                bare = re.sub(r"/\*.*?\*/", "", lines[i])
                depth += bare.count("{") - bare.count("}")
                if depth == 0 and bare.rstrip().endswith(";"):
                    while "/*" in lines[i] and "*/" not in lines[i].rsplit("/*", 1)[1]:
                        i += 1  # a comment behind it that goes on
                    break
                i += 1
                if i == len(lines):
                    fatal(f"{path}:{start + 1}: this does not end")
            decl = Decl("\n".join(lines[start:i + 1]))
            if group is None:
                if decl.kind == "function":
                    fatal(f"{path}:{start + 1}: {decl.name} has no comment")
                group = Group("")
                sections[-1][1].append(group)
            if decl.kind == "function" and not group.comment:
                fatal(f"{path}:{start + 1}: {decl.name} has no comment")
            group.decls.append(decl)
        i += 1
    return sections


# --- roff --------------------------------------------------------------------------------------------------------


def code(text):
    """Text to be shown as it stands."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    text = text.replace("^", "\\(ha").replace("~", "\\(ti")
    return "\\&" + text if text[:1] in (".", "'") else text


def prose(text):
    """Running text: names in bold, one sentence a line."""
    text = text.replace("\\", "\\e").replace("^", "\\(ha").replace("~", "\\(ti")
    word = r"`[^`]+`|\bWEFT_[A-Z_]*[A-Z*?](?![\w<])|\bUV_[A-Z_]+\*?|\bweft_\w+(?:\(\))?|--[a-z]+"
    text = re.sub(word, lambda m: "\\fB" + m.group(0).strip("`").replace("-", "\\-") + "\\fP", text)
    text = re.sub(r"(?<=[.:;]) +(?=[A-Z\\])", "\n", re.sub(r"\s+", " ", text.strip()))
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def paragraphs(comment):
    """A comment's text: paragraphs, lists by "- ", and indented lines, which stay as they are."""
    out = []
    for block in re.split(r"\n\s*\n", comment):
        kind, item = None, []

        def flush():
            if kind == "text":
                out.append(".PP\n" + prose(" ".join(item)))
            elif kind == "list":
                out.append(".IP \\(bu 2\n" + prose(" ".join(item)))
            elif kind == "plain":
                out.append(".PP\n.nf\n" + "\n".join(code(line) for line in item) + "\n.fi")

        lines = block.split("\n")
        for n, line in enumerate(lines):
            follows = lines[n + 1] if n + 1 < len(lines) else ""
            if line.startswith("  - "):
                flush()
                kind, item = "list", [line[4:]]
            elif kind == "list" and line.startswith("    "):
                item.append(line.strip())
            elif line.startswith("  ") and (kind == "plain" or re.search(r"\S  +\S", line)):
                if kind != "plain":
                    flush()
                    kind, item = "plain", []
                item.append(line)
            elif n == 0 and follows.startswith("  ") and not re.search(r"[.:,;]$", line):
                out.append(".SS " + prose(line).replace('"', "\\(dq"))  # a heading
            else:
                if kind != "text":
                    flush()
                    kind, item = "text", []
                item.append(line.strip())
        flush()
    return "\n".join(out)


def members(decl):
    """A struct or an enum, member by member."""
    out = []
    body = decl.text[decl.text.index("{") + 1:decl.text.rindex("}")]
    body = re.sub(r"#.*", "", body)
    one = r"([^;,/{}]+(?:,[^;/{}=]+)*)([;,])[ \t]*(?:/\*(.*?)\*/)?|/\*(.*?)\*/|([^;,/{}]*\S)\s*$"
    for match in re.finditer(one, body):
        member, end, text, alone, last = match.groups()
        if alone is not None:
            out.append(".PP\n" + prose(alone))
            continue
        member = re.sub(r"\s+", " ", (member or last or "").strip())
        if not member:
            continue
        out.append(".TP\n.B " + code(member) + ("\n" + prose(text) if text else "\n\\&"))
    return "\n".join(out)


def prototype(decl):
    text = re.sub(r"/\*.*?\*/", "", decl.text, flags=re.S).replace("WEFT_EXPORT ", "")
    text = re.sub(r"\s+", " ", text).strip()
    lines = [text]  # folded after a comma, to be read in 80 columns
    while len(lines[-1]) > 70 and ", " in lines[-1][:70]:
        at = lines[-1].rindex(", ", 0, 70) + 1
        lines[-1:] = [lines[-1][:at], "    " + lines[-1][at + 1:]]
    return "\n".join(f".B {code(line)}" if not line.startswith(" ") else ".B " + "\\ " * 4 + code(line.strip())
                     for line in lines)


def page(name, about, header, groups, version, see, errno):
    functions = [d for g in groups for d in g.decls if d.kind == "function"]
    types = [d for g in groups for d in g.decls if d.kind in ("struct", "enum")]
    others = [d for g in groups for d in g.decls if d.kind == "other"]
    listed = [d.name for d in functions]
    if name in listed:
        listed.remove(name)
    out = [".\\\" SPDX-License-Identifier: Apache-2.0",
           f".\\\" Made from {header} by docs/man/api_pages.py.",
           f'.TH {name.upper()} 3 "" "Weft {version}" "Weft"', ".nh", ".ad l", ".SH NAME",
           ", ".join([name] + listed) + " \\- " + about, ".SH SYNOPSIS", ".nf", ".B #include <weft.h>"]
    if others or functions:
        out.append(".PP")
    out += [prototype(d) for d in others + functions]
    out += [".fi", ".SH DESCRIPTION"]
    for group in groups:
        # of callbacks only the first has the comment
        named = [d for d in group.decls if d.kind != "other"] or group.decls[:1]
        titles = [d.name + ("()" if d.kind == "function" else "") for d in named if d.name]
        if titles and (group.comment or named[0] in types):
            out.append(".SS " + ", ".join(titles))
        if group.comment:
            out.append(paragraphs(group.comment))
        for decl in group.decls:
            if "WEFT_ERRNO_MAP" in decl.text:
                out += [f".TP\n.BR WEFT_{key} \" ({code(number)})\"\n{prose(text)}"
                        for key, (number, text) in errno.items()]
            elif decl in types:
                out.append(members(decl))
            elif decl.kind == "other" and not group.comment and "/*" in decl.text:
                out.append(f".TP\n.B {decl.name}\n" + prose(re.search(r"/\*(.*)\*/", decl.text).group(1)))
    if any(re.match(r"WEFT_EXPORT int\b", d.text) for d in functions):
        out += [".SH RETURN VALUE", prose("Where the text says nothing else, an int is 0 or a negative code. "
                "An error returned means that the callback of this call never fires.")]
    codes = {}
    for group in groups:
        text = group.comment
        for found in re.findall(r"\b(?:UV_E[A-Z_]+\*?|WEFT_E(?!V_)[A-Z]+\b)", text):
            if found.startswith("WEFT_E") and found[5:] not in errno:
                continue
            whose = codes.setdefault(found, [])
            whose += [d.name for d in group.decls if d.name and d.kind in ("function", "other") and d.name not in whose]
    if codes and name not in ("weft_api", "weft_strerror"):
        out.append(".SH ERRORS")
        for found in sorted(codes):
            text = errno[found[5:]][1] if found.startswith("WEFT_") else UV.get(found)
            if text is None:
                fatal(f"no text for {found}, which {header} names")
            users = ", ".join(f"\\fB{n}\\fP" for n in codes[found])
            out.append(f".TP\n.B {code(found)}\n{prose(text)}" + (f"\n({users})" if users else ""))
    out += [".SH SEE ALSO", ",\n".join(f".BR {other} (3)" for other in see if other != name).replace("(3),", "(3),"),
            ".PP", ".BR weft (7),\n.BR weft_info (1)"]
    text = "\n".join(out) + "\n"
    return re.sub(r"(\.BR \w+ \(\d\))\n?,\n", r"\1,\n", text)


def main():
    if len(sys.argv) < 3:
        fatal("usage: api_pages.py OUTDIR HEADER...")
    out, headers = sys.argv[1], sys.argv[2:]
    pages, errno, version = [], {}, {}
    for header in headers:
        text = open(header, encoding="utf-8").read()
        for key, number, what in re.findall(r'XX\((E\w+), (-\d+), "(.*)"\)', text):
            errno[key] = (number, what)
        version.update(re.findall(r"#define WEFT_VERSION_(\w+) +(\d+)", text))
        for section, groups in parse(header):
            if section not in PAGES:
                fatal(f"{header}: no page is named for its section {section!r}")
            if section == "" and os.path.basename(header) != "weft.h":
                continue  # an opening comment; the rest of the API's conventions stand in weft.h
            pages.append((*PAGES[section], os.path.basename(header), groups))
    names = [name for name, *_ in pages]
    number = ".".join(version[part] for part in ("MAJOR", "MINOR", "PATCH"))
    os.makedirs(out, exist_ok=True)
    for old in os.listdir(out):
        if old.endswith(".3"):
            os.remove(os.path.join(out, old))
    links = {}
    for name, about, header, groups in pages:
        with open(os.path.join(out, name + ".3"), "w", encoding="utf-8") as file:
            file.write(page(name, about, header, groups, number, names, errno))
        for decl in (d for g in groups for d in g.decls):
            if decl.name:
                links.setdefault(decl.name, name)
    for decl, name in links.items():
        if decl not in names:
            with open(os.path.join(out, decl + ".3"), "w", encoding="utf-8") as file:
                file.write(f".so man3/{name}.3\n")


if __name__ == "__main__":
    main()
