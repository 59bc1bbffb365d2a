package sniff

// Content types and lengths of the record and handshake layers (RFC 8446
// sections 4 and 5.1).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23

	recordHeaderLen    = 5
	maxRecordLen       = 1 << 14
	handshakeHeaderLen = 4
	clientHelloType    = 1
)

// joiner finds the first handshake message in a stream of records. Until the
// message is complete it examines only headers, each record once, and copies
// nothing. The result depends only on the bytes, not on how they arrive.
//
// The next record to examine is at off until wire is set; then the joiner is
// done. Every reject is final: the caller must not call join again.
type joiner struct {
	off     int // offset of the first incomplete record
	need    int // length of input below which the result cannot change
	size    int // length of the message, including its header; 0 means not yet known
	wire    int // bytes that the message's records occupy; 0 means not done
	joined  int // bytes of the message in the records before off
	records int // number of records before off
	head    [handshakeHeaderLen]byte
}

// join examines b, all bytes received so far, and returns the message with its
// header once b contains all of it. A message in one record is returned as a
// slice of b, others are joined in *room, which grows as needed. The records
// must fit in limit bytes.
func (j *joiner) join(b []byte, limit int, room *[]byte) ([]byte, error) {
	if len(b) < j.need {
		return nil, ErrNeedMore
	}
	for j.wire == 0 {
		if err := j.record(b, limit); err != nil {
			return nil, err
		}
	}
	if j.records == 1 {
		return b[recordHeaderLen:j.wire:j.wire], nil
	}
	*room = gather((*room)[:0], b[:j.wire], j.size)
	return *room, nil
}

// gather appends the content of the records in b, size bytes in all, to dst.
func gather(dst, b []byte, size int) []byte {
	if cap(dst) < size {
		dst = make([]byte, 0, size)
	}
	for len(b) > 0 {
		end := recordHeaderLen + (int(b[3])<<8 | int(b[4]))
		dst = append(dst, b[recordHeaderLen:end]...)
		b = b[end:]
	}
	return dst
}

// record processes the record at off. Its error is ErrNeedMore or a *Reject.
func (j *joiner) record(b []byte, limit int) error {
	rec := b[j.off:]
	n, err := j.recordHeader(rec)
	if err != nil {
		j.need = len(b) + 1 // any further header byte can cause a reject
		return err
	}
	payload := rec[recordHeaderLen:]
	payload = payload[:min(n, len(payload))]
	if err := j.messageHeader(payload, n, limit); err != nil {
		return err
	}
	if len(payload) < n {
		j.need = len(b) + 1
		if j.size != 0 {
			j.need = j.off + recordHeaderLen + n
		}
		return ErrNeedMore
	}
	j.finish(payload)
	return nil
}

// finish accounts for a complete record.
func (j *joiner) finish(payload []byte) {
	if j.joined < len(j.head) {
		copy(j.head[j.joined:], payload)
	}
	j.joined += len(payload)
	j.records++
	j.off += recordHeaderLen + len(payload)
	if j.joined == j.size {
		j.wire, j.need = j.off, j.off
	}
}

// recordHeader returns the length of the record at the start of rec. It checks
// each byte as soon as it has arrived.
func (j *joiner) recordHeader(rec []byte) (int, error) {
	if len(rec) == 0 {
		return 0, ErrNeedMore
	}
	check := firstRecord
	if j.off > 0 {
		check = laterRecord
	}
	if err := check(rec); err != nil {
		return 0, err
	}
	if len(rec) < recordHeaderLen {
		if len(rec) == 4 && rec[3] > maxRecordLen>>8 {
			return 0, ErrRecordOverflow
		}
		return 0, ErrNeedMore
	}
	n := int(rec[3])<<8 | int(rec[4])
	switch {
	case n > maxRecordLen:
		return 0, ErrRecordOverflow
	case n == 0:
		return 0, ErrEmptyRecord
	}
	return n, nil
}

// firstRecord checks type and version of the stream's first record. Any minor
// version is accepted: clients send 0x0301 for compatibility, and the version
// that matters is in the hello (RFC 8446 section 5.1).
func firstRecord(rec []byte) error {
	typ := rec[0]
	switch {
	case typ&0x80 != 0:
		return sslv2(rec)
	case typ < recordChangeCipherSpec || typ > recordApplicationData:
		return ErrNotTLS
	case len(rec) == 1:
		return ErrNeedMore
	case rec[1] != 3:
		return ErrNotTLS
	case typ != recordHandshake:
		return ErrUnexpectedMessage
	}
	return nil
}

// sslv2 distinguishes an SSL 2.0 hello, whose length has its high bit set and is
// followed by message type 1 (RFC 6101 appendix E), from other bytes.
func sslv2(rec []byte) error {
	switch {
	case len(rec) < 3:
		return ErrNeedMore
	case rec[2] == clientHelloType:
		return ErrSSLv2
	}
	return ErrNotTLS
}

// laterRecord checks type and version of a record inside the hello. As the peer
// uses TLS, errors have an alert.
func laterRecord(rec []byte) error {
	switch {
	case rec[0] != recordHandshake:
		return ErrUnexpectedMessage
	case len(rec) > 1 && rec[1] != 3:
		return ErrMalformed
	}
	return nil
}

// messageHeader checks the handshake header with the bytes of payload that have
// arrived, the content of a record of n bytes, and sets the size when the header
// is complete.
func (j *joiner) messageHeader(payload []byte, n, limit int) error {
	if j.size != 0 {
		return j.fits(j.size, j.size, n, limit)
	}
	var head [handshakeHeaderLen]byte
	minSize, maxSize := messageSize(head, 0)
	if err := j.fits(minSize, maxSize, n, limit); err != nil {
		return err // the record's header decides, whether or not payload has arrived
	}
	have := copy(head[:], j.head[:min(j.joined, len(j.head))])
	have += copy(head[have:], payload)
	if have > 0 && head[0] != clientHelloType {
		return ErrUnexpectedMessage
	}
	minSize, maxSize = messageSize(head, have)
	if have == handshakeHeaderLen {
		j.size = minSize
	}
	return j.fits(minSize, maxSize, n, limit)
}

// messageSize returns the bounds of the message's length, header included,
// that follow from the first have bytes of its header; the other bytes are zero.
func messageSize(head [handshakeHeaderLen]byte, have int) (minSize, maxSize int) {
	unknown := 8 * (handshakeHeaderLen - max(have, 1)) // bits
	minSize = handshakeHeaderLen + (int(head[1])<<16 | int(head[2])<<8 | int(head[3]))
	return minSize, minSize + 1<<unknown - 1
}

// fits checks a record of n bytes against a message of minSize to maxSize bytes: the
// record must not extend beyond the message, and the rest of the message in as
// few records as possible must stay within the limit.
func (j *joiner) fits(minSize, maxSize, n, limit int) error {
	joined := j.joined + n
	if joined > maxSize {
		return ErrUnexpectedMessage
	}
	rest := max(minSize-joined, 0)
	records := (rest + maxRecordLen - 1) / maxRecordLen
	if j.off+recordHeaderLen+n+rest+records*recordHeaderLen > limit {
		return ErrTooLarge
	}
	return nil
}
