package main

import "syscall"

// restrictFiles has the files that the process makes, and those that libraries
// make for it, be its user's alone.
func restrictFiles() { syscall.Umask(0o077) }
