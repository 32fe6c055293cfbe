"""How busy this host is, from one look to the next."""

from pathlib import Path

import psutil

from haagent.core.messages import Load

_LOADAVG = Path("/proc/loadavg")


class Meter:
    """Looks at the host each time that :meth:`look` is called."""

    def __init__(self) -> None:
        self._cpu_percent = psutil.cpu_percent(interval=None)
        """Since the look before; the first is of no use, and says 0."""
        self._processors = psutil.cpu_count() or 1

    def look(self) -> Load:
        """Return the load; of the processors, the mean since the look before the last.

        A short peak is half as high over two looks: a fleet does not tell of each.
        """
        before, self._cpu_percent = self._cpu_percent, psutil.cpu_percent(interval=None)
        # A container is shown its own there; getloadavg(3) asks the kernel of the whole machine.
        queue = float(_LOADAVG.read_text().split()[0]) / self._processors
        return Load(
            cpu_permille=round((before + self._cpu_percent) * 5),
            memory_permille=round(psutil.virtual_memory().percent * 10),
            queue_percent=round(queue * 100),
        )
