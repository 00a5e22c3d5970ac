//go:build !unix

package main

const hasModes = false
