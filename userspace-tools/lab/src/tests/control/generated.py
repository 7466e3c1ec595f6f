# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Whether the committed files are what the kernel's generator makes of the family's definition.

Standard input is JSON: the definition ("spec"), and the files by their names.
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

TREE = glob.glob("/build/kernel/linux-*")[0]
SPEC = "Documentation/netlink/specs/acceltcp.yaml"
FILES = json.load(sys.stdin)
MODES = {
    "acceltcp_netlink.h": ["--mode", "uapi", "--header"],
    "netlink_gen.h": ["--mode", "kernel", "--header"],
    "netlink_gen.c": ["--mode", "kernel", "--source"],
}

with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    os.makedirs(os.path.dirname(SPEC))
    # By this file the generator knows the top of a kernel's tree; the schemas it looks for beside the definition.
    open("MAINTAINERS", "w").close()
    for schema in glob.glob(f"{TREE}/Documentation/netlink/*.yaml"):
        shutil.copy(schema, "Documentation/netlink")
    with open(SPEC, "w") as file:
        file.write(FILES["spec"])
    for name, mode in MODES.items():
        command = [sys.executable, f"{TREE}/tools/net/ynl/pyynl/ynl_gen_c.py", "--spec", SPEC, *mode, "-o", name]
        subprocess.run(command, check=True)
        with open(name) as file:
            if file.read() != FILES[name]:
                sys.exit(f"{name} is not what the generator makes: {' '.join(command[1:])}")
print("as generated")
