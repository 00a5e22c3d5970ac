package protocol

// text is a string of shortest to longest bytes.
func (x *fields) text(key string, v *string, shortest, longest int, n need) {
	if x.writes(key, n, *v == "") {
		x.e.text(*v)
	} else if x.reads(key, n) {
		*v = x.d.text(shortest, longest)
	}
}

func (x *fields) user(key string, v *string, n need) {
	if x.writes(key, n, *v == "") {
		x.e.text(*v)
	} else if x.reads(key, n) {
		*v = x.d.user()
	}
}

func (x *fields) group(key string, v *string, n need) {
	if x.writes(key, n, *v == "") {
		x.e.text(*v)
	} else if x.reads(key, n) {
		*v = x.d.group()
	}
}

// word is one of an enumeration.
func (x *fields) word(key string, v *string, of *Enum, n need) {
	if x.writes(key, n, *v == "") {
		x.e.text(*v)
	} else if x.reads(key, n) {
		*v = x.d.oneOf(of)
	}
}

func (x *fields) conv(key string, v *Conv, n need) {
	if x.writing {
		x.e.convField(key, *v)
	} else if x.reads(key, n) {
		*v = x.d.conv()
	}
}

func (x *fields) bool(key string, v *bool, n need) {
	if x.writes(key, n, !*v) {
		x.e.bool(*v)
	} else if x.reads(key, n) {
		*v = x.d.bool()
	}
}

// number is an integer from lowest to highest.
func number[T int | int64 | uint32 | uint64](x *fields, key string, v *T, lowest, highest uint64, n need) {
	if x.writes(key, n, *v == 0) {
		if *v < 0 {
			x.e.int(int64(*v))
		} else {
			x.e.uint(uint64(*v))
		}
	} else if x.reads(key, n) {
		*v = T(x.d.uint(lowest, highest))
	}
}

// count is a number that has no bound of its own, a time in ms among them.
func count[T int | int64 | uint64](x *fields, key string, v *T, n need) {
	number(x, key, v, 0, MaxInt, n)
}

// pointer is a value that may be zero as well as absent, which nil stands for.
// It returns where the value is, or nil if there is nothing to write or read.
func pointer[T any](x *fields, key string, v **T) *T {
	if x.writes(key, optional, *v == nil) {
		return *v
	} else if x.reads(key, optional) {
		*v = new(T)
		return *v
	}
	return nil
}

// flag is a bool that may be absent.
func (x *fields) flag(key string, v **bool) {
	if p := pointer(x, key, v); p != nil && x.writing {
		x.e.bool(*p)
	} else if p != nil {
		*p = x.d.bool()
	}
}

// optionalText is a text that may be empty as well as absent.
func (x *fields) optionalText(key string, v **string, shortest, longest int) {
	if p := pointer(x, key, v); p != nil && x.writing {
		x.e.text(*p)
	} else if p != nil {
		*p = x.d.text(shortest, longest)
	}
}

// optionalTime is a time in ms that may be 0 as well as absent.
func (x *fields) optionalTime(key string, v **int64) {
	if p := pointer(x, key, v); p != nil && x.writing {
		x.e.int(*p)
	} else if p != nil {
		*p = x.d.int()
	}
}

// givenText is a text whose presence is a field of its own.
func (x *fields) givenText(key string, v *string, given *bool, shortest, longest int) {
	if x.writes(key, optional, !*given) {
		x.e.text(*v)
	} else if x.reads(key, optional) {
		*v, *given = x.d.text(shortest, longest), true
	}
}

// givenSeq is a seq, or 0, whose presence is a field of its own.
func (x *fields) givenSeq(key string, v *uint64, given *bool) {
	if x.writes(key, optional, !*given) {
		x.e.uint(*v)
	} else if x.reads(key, optional) {
		*v, *given = x.d.uint(0, MaxInt), true
	}
}

// body is a value of at most longest bytes as canonical msgpack.
func (x *fields) body(key string, v *[]byte, longest int) {
	if x.writes(key, optional, *v == nil) {
		x.e.body(*v)
	} else if x.reads(key, optional) {
		*v = x.d.body(longest)
	}
}

// properties are a body that is a map.
func (x *fields) properties(key string, v *[]byte) {
	if x.writes(key, optional, *v == nil) {
		x.e.body(*v)
	} else if x.reads(key, optional) {
		*v = x.d.properties()
	}
}

// users are a list of shortest to longest users.
func (x *fields) users(key string, v *[]string, shortest, longest int, n need) {
	if x.writes(key, n, len(*v) == 0) {
		x.e.textList(*v)
	} else if x.reads(key, n) {
		*v = x.d.users(shortest, longest)
	}
}

// anyUsers are as many users as the frame holds.
func (x *fields) anyUsers(key string, v *[]string, n need) {
	if x.writes(key, n, len(*v) == 0) {
		x.e.textList(*v)
	} else if x.reads(key, n) {
		*v = x.d.userList()
	}
}

// seqs are a list of shortest to longest seqs.
func (x *fields) seqs(key string, v *[]uint64, shortest, longest int, n need) {
	if x.writes(key, n, false) {
		x.e.seqList(*v)
	} else if x.reads(key, n) {
		*v = x.d.seqs(shortest, longest)
	}
}

// seqRange is [from, to]; 0, 0 is none.
func (x *fields) seqRange(key string, from, to *uint64) {
	if x.writes(key, optional, *from == 0) {
		x.e.seqRange(*from, *to)
	} else if x.reads(key, optional) {
		*from, *to = x.d.seqRange()
	}
}
