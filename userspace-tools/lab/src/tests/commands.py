# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The end of every script of the tests that does what it is told. Commands come on standard input, a
# JSON object a line: its "do" names a function of the script, the rest are its arguments. A line of
# JSON answers each: {"ok": result} or {"error": name of the errno, or text}.

import errno
import json
import sys


def answer(line):
    args = json.loads(line)
    try:
        return {"ok": globals()[args.pop("do")](**args)}
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno, str(error))}
    except RuntimeError as error:
        return {"error": str(error)}


for command in sys.stdin:
    print(json.dumps(answer(command)), flush=True)
