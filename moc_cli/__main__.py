"""`python -m moc_cli`, for torchrun and places without the `moc` script."""

from moc_cli.main import main

main()
