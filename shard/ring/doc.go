// Package ring keeps the log of one conversation view: an expiring ring of
// entries whose seqs run on without holes, in memory that the garbage collector
// does not look into.
//
// There are millions of rings in a shard, most of them with one to three
// entries. So a Ring is a header of 32 bytes without pointers, to be held by
// value in a slice, and its entries lie in pieces of one Arena that all rings
// of the shard share. Every method takes that arena.
//
// # Segments
//
// A ring's entries lie in a chain of segments, the oldest in the head. Bytes in a
// segment are written once and never move, except for the link to the next segment:
//
//	offset  bytes  field
//	     0      4  size      of this segment, header included
//	     4      4  next      segment after; written when that one is chained
//	     8      4  prev      segment before
//	    12      4  prevEnd   offset after the last entry of prev
//	    16      8  first     seq of its first entry
//	    24      8  arrival   lowest arrival number that an entry in it may have
//	    32         entries
//
// All integers are little-endian. The first segment that a ring gets is its root.
// Its header ends after next, because no segment is before it. Most rings have only
// a root. A small ring is copied into a larger root when that is full; past
// 2 KiB segments are chained.
// Truncating moves the start of the ring inside its head and frees whole segments.
//
// # Entries
//
// An entry is independent of its neighbours and of the segment it lies in, so
// the sum of sizes, Ring.Bytes, is the same on all replicas and after a restore:
//
//	size      uvarint, bytes from flags up to the end of body
//	flags     1 byte: own 1, expired 2; followed by a field: session 4, peer 8,
//	          ttl 16, from 32, mentions 64; or by another byte of flags, not 0:
//	          128. None of its bits is known yet, so it is refused
//	arrival   uvarint
//	time      uvarint of the 64 bits, ms
//	session   uvarint, if flagged, then not 0
//	peer      uvarint, if flagged, then not 0
//	ttl       uvarint of at most 32 bits, if flagged, then not 0
//	id        16 bytes
//	cid       uvarint length, bytes
//	from      uvarint length, bytes, if flagged, then not empty
//	mentions  uvarint length, bytes, if flagged, then not empty
//	body      what is left of size
//	size      the bytes of the first field in reverse order, to be read backwards
//
// Varints have no superfluous bytes: an entry has one encoding. The seq is not
// part of it; it follows from the place in the ring. Whoever writes entries to a
// snapshot puts a version and the first seq before them.
//
// # Reading an earlier state
//
// An Arena and its rings have one owner and no lock. Methods that change nothing
// may run beside each other. What a ring held at some time can be read later: a
// copy of the Ring, made at that time, is a consistent snapshot as long as all that
// the ring frees afterwards is held (Arena.HoldIn). Nothing that can be read through
// the copy changes any more: the end of the last segment is in the copy, and the link
// of that segment is not followed.
package ring
