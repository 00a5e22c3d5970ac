// Package sharedlog keeps the Raft logs of all groups of a node, with their terms and
// votes, in one sequence of frames, so that whatever the groups write at about one time
// shares one sync. Groups with files and syncs of their own hold each other up.
//
// A [Log] is open from Open to its first failed write or sync: then it refuses everything,
// and has to be opened again. A [Node] does that, once for all groups. A [Group] is what one
// group sees of the log: a LogStore and a StableStore of hashicorp/raft.
//
// One goroutine writes: it takes what waits, writes it with one call as a batch, syncs,
// brings the index in memory up to date, and answers. Before it writes it waits for a moment
// for those groups that were in its last two syncs, which are likely to come again.
//
// # Files
//
// All integers are little endian. The folder has a file "meta" and segments, named by their
// numbers, which rise by one: 0000000000000001.seg. A segment in which nothing lives is
// renamed and used again, from the oldest on.
//
//	meta: 0 magic "BLFYLOG1" · 8 salt (8) · 16 crc32c of 0 to 15 (4)
//
//	segment: 0 magic "BLFYSEG1" · 8 number (8) · 16 zero (12) · 28 crc32c of the seed and 0 to 27 (4) ·
//	32 frames: a checkpoint first; a seal last, once there is a next segment
//
//	frame, padded with zeros to 8 bytes:
//	0  4  crc32c of the seed and of 4 to 23
//	4  4  crc32c of the payload
//	8  4  length of the payload
//	12 4  where in the file the batch begins that the frame belongs to
//	16 4  number of the group, 0: of none
//	20 1  kind
//	21 3  zero
//	24    payload
//
//	payload by kind:
//	1 entry       index (8) · term (8) · time of the append, Unix ns, 0: none (8) · type (1) ·
//	              length of the extensions (4) · extensions · data
//	2 copy        as an entry that is there already: it is now here
//	3 delete      first (8) · last (8), at either end of the group's entries
//	4 set         length of the key (1) · key · value
//	5 make        name of a new group
//	6 drop        nothing: the group is no more
//	7 checkpoint  next group's number (4) · number of groups (4) · of each, by number: number (4) ·
//	              length of the name (1) · name · first, last index, 0: no entries (16) · number of values (1) ·
//	              of each, by key: length of the key (1) · key · length (2) · value
//	8 seal        nothing: the segment ends here
//
// The seed of a segment is its number and the salt, which is random and made with the
// folder: what was in a file before it was used again is never taken for frames, nor is
// anything that a client could make up.
//
// # Opening
//
// The segments are read once, in order. A batch is only written when the one before it has
// been synced. So a bad frame at the end of the newest segment, with at most frames of its
// own batch behind it, was never acknowledged, and is cut off. Any other is a [CorruptError].
// What is left of the newest segment is written once more and synced: what a killed process
// or a failed sync has left in the page cache does not count as stored before. A checkpoint
// has to say what the segments before it do, and each entry that it promises has to be there.
package sharedlog
