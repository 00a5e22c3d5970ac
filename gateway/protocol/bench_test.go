package protocol

import "testing"

func BenchmarkDecodeSend(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.Name(), func(b *testing.B) {
			frame := sendFrame(b, codec)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				decodeSend(b, codec, frame)
			}
		})
	}
}

func BenchmarkDecodeAck(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.Name(), func(b *testing.B) {
			frame := AppendRequest(nil, codec, 0, OpAck, &AckArgs{12345})
			b.ReportAllocs()
			for b.Loop() {
				r, _ := DecodeRequest(codec, frame)
				var a AckArgs
				if a.Decode(r.Args) != nil {
					b.Fatal("ack is lost")
				}
			}
		})
	}
}

func BenchmarkAppendNewMessage(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.Name(), func(b *testing.B) {
			var a SendArgs
			r, _ := DecodeRequest(codec, sendFrame(b, codec))
			if err := a.Decode(r.Args, DefaultMaxBody); err != nil {
				b.Fatal(err)
			}
			m := testMessage()
			m.Body = a.Body
			p := NewMessage{D: 12, Messages: []Message{m}, Cursor: "1-12345"}
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendNewMessage(buf[:0], codec, &p)
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

func BenchmarkAppendSendOK(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.Name(), func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendSendOK(buf[:0], codec, 77, &SendOK{ID: testID, Seq: 9, Time: 1795400000123})
			}
		})
	}
}
