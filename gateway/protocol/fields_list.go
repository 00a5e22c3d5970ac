package protocol

// A walkedList is a list of objects that is being written or read. i is the
// index of the present element.
type walkedList struct {
	i, n int
	a    array
}

// beginList opens a list of objects. Each takes at least elemLen bytes of a
// frame. If the list is left out, elem returns false at once.
func beginList[T any](x *fields, key string, v *[]T, elemLen int, n need) walkedList {
	l := walkedList{i: -1}
	if x.writes(key, n, len(*v) == 0) {
		l.n = len(*v)
		x.e.array(l.n)
	} else if x.reads(key, n) {
		*v, l.a = openList[T](&x.d, elemLen)
		l.n = len(*v)
	} else {
		l.n = -1
	}
	return l
}

// elem advances to the next element and reports whether there is one. After the
// last element it closes the list.
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

// list writes or reads a list of records.
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

// losses writes or reads a list of Lost. It is list without the interface, and
// so without allocation.
func (x *fields) losses(key string, v *[]Lost, n need) {
	for l := beginList(x, key, v, lostLen, n); x.elem(&l); {
		for m := x.object(); x.next(&m); {
			(*v)[l.i].fields(x)
		}
	}
}

// conversations writes or reads a list of conversations. An empty one is not nil
// after reading.
func (x *fields) conversations(key string, v *[]Conversation, n need) {
	for l := beginList(x, key, v, conversationLen, n); x.elem(&l); {
		for m := x.object(); x.next(&m); {
			(*v)[l.i].fields(x)
		}
	}
}

// messages writes or reads a list of at most MaxMessages messages. encoded,
// unless nil, has the messages as AppendMessage has encoded them.
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

// ranges writes or reads a list of [from, to].
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

// groupCursors writes or reads a map {group: cursor} of at most longest groups,
// each once.
func (x *fields) groupCursors(key string, v *[]GroupCursor, longest int) {
	if x.writing {
		x.e.groupCursors(key, *v)
	} else if x.reads(key, optional) {
		*v = x.d.groupCursors(longest)
	}
}

// nested writes or reads an object that is a record.
func (x *fields) nested(key string, r record) {
	if x.writes(key, always, false) || x.reads(key, always) {
		x.inner(r)
	}
}

// inner writes or reads an object whose key was written or read already.
func (x *fields) inner(r record) {
	for m := x.object(); x.next(&m); {
		r.fields(x)
	}
}

// presence writes or reads a map of users, each with an object: {user: {…}}.
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
