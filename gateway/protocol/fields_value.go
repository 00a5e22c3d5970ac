package protocol

// text writes or reads a string whose length in bytes is between shortest and
// longest.
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

// word writes or reads a word of an Enum.
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

// unless writes or reads the opposite of v, which is true unless it is written.
func (x *fields) unless(key string, v *bool) {
	if x.writes(key, optional, !*v) {
		x.e.bool(false)
	} else if x.reads(key, optional) {
		*v = !x.d.bool()
	}
}

// number writes or reads an integer from lowest to highest.
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

// count writes or reads an integer from 0 to MaxInt, such as a time in ms.
func count[T int | int64 | uint64](x *fields, key string, v *T, n need) {
	number(x, key, v, 0, MaxInt, n)
}

// pointer handles a value that may be absent as well as zero; nil means absent.
// It returns a pointer to the value that the caller has to write or read, nil
// if there is none.
func pointer[T any](x *fields, key string, v **T) *T {
	if x.writes(key, optional, *v == nil) {
		return *v
	} else if x.reads(key, optional) {
		*v = new(T)
		return *v
	}
	return nil
}

// flag writes or reads a bool that may be absent (nil).
func (x *fields) flag(key string, v **bool) {
	if p := pointer(x, key, v); p != nil && x.writing {
		x.e.bool(*p)
	} else if p != nil {
		*p = x.d.bool()
	}
}

// optionalText writes or reads a text that may be absent (nil) as well as
// empty.
func (x *fields) optionalText(key string, v **string, shortest, longest int) {
	if p := pointer(x, key, v); p != nil && x.writing {
		x.e.text(*p)
	} else if p != nil {
		*p = x.d.text(shortest, longest)
	}
}

// optionalTime writes or reads a time in ms that may be absent (nil) as well as
// 0.
func (x *fields) optionalTime(key string, v **int64) {
	if p := pointer(x, key, v); p != nil && x.writing {
		x.e.int(*p)
	} else if p != nil {
		*p = x.d.int()
	}
}

// givenText writes or reads a text. given says whether it is present.
func (x *fields) givenText(key string, v *string, given *bool, shortest, longest int) {
	if x.writes(key, optional, !*given) {
		x.e.text(*v)
	} else if x.reads(key, optional) {
		*v, *given = x.d.text(shortest, longest), true
	}
}

// givenSeq writes or reads a seq or 0. given says whether it is present.
func (x *fields) givenSeq(key string, v *uint64, given *bool) {
	if x.writes(key, optional, !*given) {
		x.e.uint(*v)
	} else if x.reads(key, optional) {
		*v, *given = x.d.uint(0, MaxInt), true
	}
}

// body writes or reads a value as canonical msgpack, of at most longest bytes.
func (x *fields) body(key string, v *[]byte, longest int) {
	if x.writes(key, optional, *v == nil) {
		x.e.body(*v)
	} else if x.reads(key, optional) {
		*v = x.d.body(longest)
	}
}

// properties writes or reads a body that is a map.
func (x *fields) properties(key string, v *[]byte) {
	if x.writes(key, optional, *v == nil) {
		x.e.body(*v)
	} else if x.reads(key, optional) {
		*v = x.d.properties()
	}
}

// users writes or reads a list of users whose length is between shortest and
// longest.
func (x *fields) users(key string, v *[]string, shortest, longest int, n need) {
	if x.writes(key, n, len(*v) == 0) {
		x.e.textList(*v)
	} else if x.reads(key, n) {
		*v = x.d.users(shortest, longest)
	}
}

// anyUsers writes or reads a list of users of any length.
func (x *fields) anyUsers(key string, v *[]string, n need) {
	if x.writes(key, n, len(*v) == 0) {
		x.e.textList(*v)
	} else if x.reads(key, n) {
		*v = x.d.userList()
	}
}

// groups writes or reads a list of at most MaxLoginGroups groups.
func (x *fields) groups(key string, v *[]string, n need) {
	if x.writes(key, n, len(*v) == 0) {
		x.e.textList(*v)
	} else if x.reads(key, n) {
		*v = x.d.groupList(MaxLoginGroups)
	}
}

// seqs writes or reads a list of seqs whose length is between shortest and
// longest.
func (x *fields) seqs(key string, v *[]uint64, shortest, longest int, n need) {
	if x.writes(key, n, false) {
		x.e.seqList(*v)
	} else if x.reads(key, n) {
		*v = x.d.seqs(shortest, longest)
	}
}

// seqRange writes or reads [from, to]; it is not written if from is 0.
func (x *fields) seqRange(key string, from, to *uint64) {
	if x.writes(key, optional, *from == 0) {
		x.e.seqRange(*from, *to)
	} else if x.reads(key, optional) {
		*from, *to = x.d.seqRange()
	}
}
