"""Where projects come from: uploaded archives, git repositories, packages of other nodes."""
