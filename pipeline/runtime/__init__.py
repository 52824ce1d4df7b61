"""What every command needs: command line, files, progress, provenance, plotting."""
