package protocol

// A walkedList is a list of objects that is being written or read, at element i.
type walkedList struct {
	i, n int
	a    array
}

// beginList opens a list of objects, each of which takes at least elemLen bytes
// of a frame. A list that is left out has no elements.
func beginList[T any](x *fields, key string, v *[]T, elemLen int, n need) walkedList {
	l := walkedList{i: -1}
	if x.writes(key, n, len(*v) == 0) {
		l.n = len(*v)
		x.e.array(l.n)
	} else if x.reads(key, n) {
		*v, l.a = makeList[T](&x.d, elemLen)
		l.n = len(*v)
	} else {
		l.n = -1
	}
	return l
}

// elem goes to the next element of a list, and closes it after the last.
func (x *fields) elem(l *walkedList) bool {
	l.i++
	switch {
	case x.writing && l.i < l.n, !x.writing && l.n >= 0 && x.d.elem(&l.a):
		return true
	case x.writing && l.i == l.n:
		x.e.endArray()
	case !x.writing && l.n >= 0:
		x.d.endArray(l.a)
	}
	return false
}

// list is a list of records.
func list[T any, P interface {
	*T
	record
}](x *fields, key string, v *[]T, elemLen int, n need) {
	for l := beginList(x, key, v, elemLen, n); x.elem(&l); {
		for m := x.object(); x.next(&m); {
			P(&(*v)[l.i]).fields(x)
		}
	}
}

// losses are a list of Lost. As conversations, it is list without an interface.
func (x *fields) losses(key string, v *[]Lost, n need) {
	for l := beginList(x, key, v, lostLen, n); x.elem(&l); {
		for m := x.object(); x.next(&m); {
			(*v)[l.i].fields(x)
		}
	}
}

// conversations are a list of conversations, which is not nil even when empty.
func (x *fields) conversations(key string, v *[]Conversation, n need) {
	for l := beginList(x, key, v, conversationLen, n); x.elem(&l); {
		for m := x.object(); x.next(&m); {
			(*v)[l.i].fields(x)
		}
	}
}

// messages are a list of at most MaxMessages messages. encoded has them as
// AppendMessage writes them, where that has been done.
func (x *fields) messages(key string, v *[]Message, encoded [][]byte) {
	if x.reads(key, always) {
		*v = x.d.messages()
	} else if x.writes(key, always, false) {
		x.e.array(len(*v))
		for i := range *v {
			if encoded != nil {
				x.e.encoded(encoded[i])
			} else {
				(*v)[i].encode(&x.e)
			}
		}
		x.e.endArray()
	}
}

// ranges are a list of [from, to].
func (x *fields) ranges(key string, v *[]Range) {
	for l := beginList(x, key, v, rangeLen, always); x.elem(&l); {
		r := &(*v)[l.i]
		if x.writing {
			x.e.seqRange(r.From, r.To)
		} else {
			r.From, r.To = x.d.seqRange()
		}
	}
}

// groupCursors are {group: cursor} of at most longest groups, each once.
func (x *fields) groupCursors(key string, v *[]GroupCursor, longest int) {
	if x.writing {
		x.e.groupCursors(key, *v)
	} else if x.reads(key, optional) {
		*v = x.d.groupCursors(longest)
	}
}

// nested is an object that is a record itself.
func (x *fields) nested(key string, r record) {
	if x.writes(key, always, false) || x.reads(key, always) {
		x.inner(r)
	}
}

// inner is an object whose key was written or read already.
func (x *fields) inner(r record) {
	for m := x.object(); x.next(&m); {
		r.fields(x)
	}
}

// presence is {user: {…}}.
func (x *fields) presence(key string, v *[]UserPresence) {
	if x.writes(key, always, false) {
		users := x.e.beginMapOf(len(*v))
		for i := range *v {
			x.e.textKey((*v)[i].User)
			x.inner(&(*v)[i])
		}
		x.e.endMapOf(users)
	} else if x.reads(key, always) {
		users := x.d.object()
		*v = makeEntries[UserPresence](&x.d, users, presenceLen)
		for x.d.next(&users) {
			p := UserPresence{User: string(users.key)}
			x.d.check(ValidUser(p.User), key, userKeys)
			x.inner(&p)
			*v = append(*v, p)
		}
	}
}
