"""What has to be set before torch is loaded. The sweep without a process of its own is `in_process.door`."""

from __future__ import annotations

from harness.work import arithmetic

arithmetic.prepare_environment(threads=1)  # tests share the cores; and what is computed here has a worker's bits
