"""What keeps a service answering when time, load or a dependency goes wrong."""
