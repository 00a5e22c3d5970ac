package main

import "syscall"

// restrictFiles sets the umask so that files that the process and its
// libraries make belong to its user alone.
func restrictFiles() { syscall.Umask(0o077) }
