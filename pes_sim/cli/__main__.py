"""`python -m pes_sim.cli` is `pes-sim`."""

from pes_sim.cli import main

raise SystemExit(main())
