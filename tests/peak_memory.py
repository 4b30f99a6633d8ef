"""How much memory a program has had, measured in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path


def resident_peak() -> int:
    """The most resident memory of this process in kilobytes; resource's ru_maxrss would begin at the parent's."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def printed_by(program, *folders) -> int:
    """The number that a program prints, run by itself with `resident_peak` and the modules of folders at hand."""
    path = [str(folder) for folder in (Path(__file__).parent, *folders)]
    start = f"import sys\nsys.path[:0] = {path!r}\nfrom peak_memory import resident_peak\n"
    done = subprocess.run([sys.executable, "-c", start + program], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
