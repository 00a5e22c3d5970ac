package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func deep(arrays int) string { return strings.Repeat("[", arrays) + strings.Repeat("]", arrays) }

// refusedJSON are bodies that break a rule.
var refusedJSON = []struct {
	name, json string
	want       *FieldError
}{
	{"grammar/nothing", ``, errBodyGrammar},
	{"grammar/space only", `  `, errBodyGrammar},
	{"grammar/cut array", `[1,`, errBodyGrammar},
	{"grammar/trailing comma", `[1,]`, errBodyGrammar},
	{"grammar/trailing comma in map", `{"a":1,}`, errBodyGrammar},
	{"grammar/second value", `1 2`, errBodyGrammar},
	{"grammar/second text", `"a""b"`, errBodyGrammar},
	{"grammar/leading zero", `01`, errBodyGrammar},
	{"grammar/plus", `+1`, errBodyGrammar},
	{"grammar/no fraction", `1.`, errBodyGrammar},
	{"grammar/no exponent", `1e`, errBodyGrammar},
	{"grammar/minus alone", `-`, errBodyGrammar},
	{"grammar/NaN", `NaN`, errBodyGrammar},
	{"grammar/key without quotes", `{a:1}`, errBodyGrammar},
	{"grammar/no colon", `{"a" 1}`, errBodyGrammar},
	{"grammar/number as key", `{1:1}`, errBodyGrammar},
	{"grammar/control character", "\"\x01\"", errBodyGrammar},
	{"grammar/unknown escape", `"\x41"`, errBodyGrammar},
	{"grammar/short escape", `"\u12"`, errBodyGrammar},
	{"grammar/open text", `"abc`, errBodyGrammar},
	{"grammar/cut word", `tru`, errBodyGrammar},
	{"text/lone high surrogate", `"\ud800"`, errBodyText},
	{"text/lone low surrogate", `"\udc00"`, errBodyText},
	{"text/high surrogate before text", `"\ud800abcdef"`, errBodyText},
	{"text/two high surrogates", `"\ud800\ud800"`, errBodyText},
	{"text/surrogates swapped", `"\udc00\ud800"`, errBodyText},
	{"text/surrogate in key", `{"\ud800":1}`, errBodyText},
	{"text/invalid UTF-8", "\"\xff\"", errBodyText},
	{"text/overlong UTF-8", "\"\xc0\x80\"", errBodyText},
	{"text/surrogate as UTF-8", "\"\xed\xa0\x80\"", errBodyText},
	{"duplicate/same key", `{"a":1,"a":2}`, errBodyDuplicate},
	{"duplicate/escaped key", `{"a":1,"b":0,"\u0061":2}`, errBodyDuplicate},
	{"duplicate/nested", `[{"x":{"k":1,"j":1,"k":1}}]`, errBodyDuplicate},
	{"duplicate/empty key", `{"":1,"":2}`, errBodyDuplicate},
	{"int/above 2^63", `9223372036854775809`, errBodyInt},
	{"int/below -2^63", `-9223372036854775809`, errBodyInt},
	{"int/above 2^64", `18446744073709551616`, errBodyInt},
	{"int/huge", `[` + strings.Repeat("9", 400) + `]`, errBodyInt},
	{"float/overflow", `1e400`, errBodyFloat},
	{"float/negative overflow", `-1e400`, errBodyFloat},
	{"depth/33 arrays", deep(33), errBodyDepth},
	{"depth/33 maps", strings.Repeat(`{"a":`, 33) + `1` + strings.Repeat(`}`, 33), errBodyDepth},
	{"depth/10000 arrays", deep(10000), errBodyDepth},
	{"bin/number", `{"$bin":5}`, errBodyBin},
	{"bin/array", `{"$bin":[1]}`, errBodyBin},
	{"bin/null", `{"$bin":null}`, errBodyBin},
	{"bin/nested", `{"$bin":{"$bin":""}}`, errBodyBin},
	{"bin/unpadded", `{"$bin":"YQ"}`, errBodyBin},
	{"bin/URL alphabet", `{"$bin":"_-8="}`, errBodyBin},
	{"bin/line break", `{"$bin":"YWJj\nYWJj"}`, errBodyBin},
	{"bin/loose bits", `{"$bin":"YR=="}`, errBodyBin},
	{"bin/escaped key", `{"$\u0062in":"?"}`, errBodyBin},
	{"bin/padding alone", `{"$bin":"="}`, errBodyBin},
	{"too_large/text", `"` + strings.Repeat("x", 100) + `"`, tooLarge(100)},
	{"too_large/floats", `[` + strings.Repeat("1e9,", 11) + `1e9]`, tooLarge(100)},
}

func TestCanonicalJSONRefuses(t *testing.T) {
	for _, tt := range refusedJSON {
		t.Run(tt.name, func(t *testing.T) {
			limit := 1 << 20
			if tt.want.Code == CodeTooLarge {
				limit = 100
			}
			got, err := CanonicalJSON([]byte("before"), []byte(tt.json), limit)
			if field, ok := errors.AsType[*FieldError](err); !ok || *field != *tt.want {
				t.Errorf("CanonicalJSON(%.60s) = %v, want %v", tt.json, err, tt.want)
			}
			if string(got) != "before" {
				t.Errorf("CanonicalJSON(%.60s) left %q in dst", tt.json, got)
			}
		})
	}
}

// refusedMsgpack are bodies that break a rule.
var refusedMsgpack = []struct {
	name, hex string
	want      *FieldError
}{
	{"grammar/nothing", "", errBodyGrammar},
	{"grammar/never used", "c1", errBodyGrammar},
	{"grammar/second value", "0102", errBodyGrammar},
	{"grammar/cut text", "a3 6162", errBodyGrammar},
	{"grammar/cut array", "92 01", errBodyGrammar},
	{"grammar/cut number", "cd 01", errBodyGrammar},
	{"grammar/count beyond input", "dd ffffffff 01", errBodyGrammar},
	{"grammar/entries beyond input", "df ffffffff 01", errBodyGrammar},
	{"grammar/length beyond input", "db ffffffff 61", errBodyGrammar},
	{"grammar/bin length beyond input", "c6 7fffffff 61", errBodyGrammar},
	{"text/invalid UTF-8", "a1 ff", errBodyText},
	{"text/invalid UTF-8 in key", "81 a1ff 01", errBodyText},
	{"text/surrogate as UTF-8", "a3 eda080", errBodyText},
	{"key/integer", "81 01 01", errBodyKey},
	{"key/nil", "81 c0 01", errBodyKey},
	{"key/bin", "81 c40161 01", errBodyKey},
	{"duplicate/neighbours", "82 a161 01 a161 02", errBodyDuplicate},
	{"duplicate/apart", "83 a161 01 a162 01 a161 02", errBodyDuplicate},
	{"duplicate/another head", "82 a161 01 d90161 02", errBodyDuplicate},
	{"int/above 2^63", "cf 8000000000000001", errBodyInt},
	{"float/NaN", "cb 7ff8000000000000", errBodyFloat},
	{"float/infinity", "cb 7ff0000000000000", errBodyFloat},
	{"float/float32 NaN", "ca 7fc00000", errBodyFloat},
	{"float/float32 infinity", "ca ff800000", errBodyFloat},
	{"ext/timestamp", "d6 ff 00000000", errBodyExt},
	{"ext/ext8", "c7 01 05 00", errBodyExt},
	{"ext/in array", "91 d4 05 00", errBodyExt},
	{"bin map/text", "81 a42462696e a459513d3d", errBodyBinMap},
	{"bin map/bin", "81 a42462696e c40161", errBodyBinMap},
	{"bin map/long head", "81 d9042462696e c0", errBodyBinMap},
	{"bin map/inner", "91 81 a42462696e c0", errBodyBinMap},
	{"depth/33 arrays", strings.Repeat("91", 33) + "c0", errBodyDepth},
	{"depth/33 maps", strings.Repeat("81a161", 33) + "c0", errBodyDepth},
	{"depth/10000 arrays", strings.Repeat("91", 10000) + "c0", errBodyDepth},
	{"too_large/bin", "c5 0080" + strings.Repeat("00", 128), tooLarge(100)},
	{"too_large/float32s", "9f" + strings.Repeat("ca3f800000", 15), tooLarge(100)},
}

func TestCanonicalMsgpackRefuses(t *testing.T) {
	for _, tt := range refusedMsgpack {
		t.Run(tt.name, func(t *testing.T) {
			limit := 1 << 20
			if tt.want.Code == CodeTooLarge {
				limit = 100
			}
			src := unhex(t, tt.hex)
			_, err := CanonicalMsgpack(nil, src, limit)
			if field, ok := errors.AsType[*FieldError](err); !ok || *field != *tt.want {
				t.Errorf("CanonicalMsgpack(%.40x) = %v, want %v", src, err, tt.want)
			}
			if end := canonicalEnd(src, 0, 0); end == len(src) && tt.want.Code != CodeTooLarge {
				t.Errorf("canonicalEnd(%.40x) takes it for canonical", src)
			}
		})
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// canonicalBodies are bodies as a client may write them, and as they are kept.
var canonicalBodies = []struct{ json, hex string }{
	{`null`, "c0"},
	{` false `, "c2"},
	{`0`, "00"},
	{`-0`, "00"},
	{`127`, "7f"},
	{`128`, "cc80"},
	{`256`, "cd0100"},
	{`65536`, "ce00010000"},
	{`4294967296`, "cf0000000100000000"},
	{`9223372036854775807`, "cf7fffffffffffffff"},
	{`9223372036854775808`, "cf8000000000000000"},
	{`-1`, "ff"},
	{`-32`, "e0"},
	{`-33`, "d0df"},
	{`-128`, "d080"},
	{`-129`, "d1ff7f"},
	{`-32769`, "d2ffff7fff"},
	{`-2147483649`, "d3ffffffff7fffffff"},
	{`-9223372036854775808`, "d38000000000000000"},
	{`1.0`, "cb3ff0000000000000"},
	{`1e0`, "cb3ff0000000000000"},
	{`-0.0`, "cb8000000000000000"},
	{`1e-400`, "cb0000000000000000"},
	{`""`, "a0"},
	{`"\ud83d\ude00"`, "a4f09f9880"},
	{`"\u0000"`, "a100"},
	{`{"b":1,"a":[]}`, "82a16190a16201"},
	{`{"ab":1,"a":2,"b":3}`, "83a16102a2616201a16203"},
	{`{"$bin":"YWI="}`, "c4026162"},
	{`{ "\u0024bin" : "" }`, "c400"},
	{`{"$bin":"YWI=","x":1}`, "82a42462696ea4" + hex.EncodeToString([]byte("YWI=")) + "a17801"},
	{`{"$bin":[],"x":1}`, "82a42462696e90a17801"},
	{`[0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5]`, "dc001000010203040506070809000102030405"},
	{`true`, "c3"},
	{`9007199254740991`, "cf001fffffffffffff"},
	{`9007199254740993`, "cf0020000000000001"},
	{`-9007199254740993`, "d3ffdfffffffffffff"},
	{`1.5`, "cb3ff8000000000000"},
	{`1e21`, "cb444b1ae4d6e2ef50"},
	{`5e-324`, "cb0000000000000001"},
	{`1.7976931348623157e308`, "cb7fefffffffffffff"},
	{`"\"\\\/\b\f\n\r\t<>&\u2028\u2029"`, "b1225c2f080c0a0d093c3e26e280a8e280a9"},
	{`"` + strings.Repeat("x", 32) + `"`, "d920" + strings.Repeat("78", 32)},
	{`"` + strings.Repeat("x", 256) + `"`, "da0100" + strings.Repeat("78", 256)},
	{`{"$bin":"` + strings.Repeat("AAAA", 100) + `"}`, "c5012c" + strings.Repeat("00", 300)},
	{`{}`, "80"},
	{`{"":0,"\u00e9":"\u00e9","__proto__":1,"constructor":null}`, "84a000a95f5f70726f746f5f5f01ab636f6e7374727563746f72c0a2c3a9a2c3a9"},
	{`{"text":"hi","size":3.0,"list":[1,[2,{"deep":[]}]],"data":{"$bin":"AP8="}}`, "84a464617461c40200ffa46c697374920192" + "02" + "81a46465657090a473697a65cb4008000000000000a474657874a26869"},
	{deep(32), strings.Repeat("91", 31) + "90"},
}

func TestCanonicalForm(t *testing.T) {
	for _, tt := range canonicalBodies {
		got, err := CanonicalJSON(nil, []byte(tt.json), DefaultMaxBody)
		if want := unhex(t, tt.hex); err != nil || !bytes.Equal(got, want) {
			t.Errorf("CanonicalJSON(%s) = %x, %v, want %x", tt.json, got, err, want)
		}
		if end := canonicalEnd(got, 0, 0); end != len(got) {
			t.Errorf("canonicalEnd(%x) = %d, want %d", got, end, len(got))
		}
	}
}

func TestBodyDepth32IsAccepted(t *testing.T) {
	// Binary is no level of its own, though its JSON looks like one.
	text := strings.Repeat(`[`, 31) + `{"k":{"$bin":"YQ=="}}` + strings.Repeat(`]`, 31)
	body, err := CanonicalJSON(nil, []byte(text), DefaultMaxBody)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(AppendBodyJSON(nil, body)); got != text {
		t.Errorf("AppendBodyJSON = %s, want %s", got, text)
	}
	if again, err := CanonicalMsgpack(nil, body, DefaultMaxBody); err != nil || !bytes.Equal(again, body) {
		t.Errorf("CanonicalMsgpack(%x) = %x, %v", body, again, err)
	}
}

func TestBodySizeIsThatOfTheCanonicalForm(t *testing.T) {
	// 64 bytes of binary are 66 bytes of msgpack, though 88 in base64.
	bin := `{"$bin":"` + strings.Repeat("AAAA", 21) + `AA=="}`
	for _, text := range []string{bin, `"` + strings.Repeat(`\u0041`, 64) + `"`, `[1,   2,3  ]`} {
		body, err := CanonicalJSON(nil, []byte(text), DefaultMaxBody)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := CanonicalJSON(nil, []byte(text), len(body)); err != nil {
			t.Errorf("CanonicalJSON(%s, %d) = %v", text, len(body), err)
		}
		if _, err := CanonicalJSON(nil, []byte(text), len(body)-1); err == nil {
			t.Errorf("CanonicalJSON(%s, %d) = nil, want too_large", text, len(body)-1)
		}
	}
}

func TestAppendBodyJSONFloats(t *testing.T) {
	for f, want := range map[float64]string{
		3: "3.0", 1e21: "1e+21", 1e20: "100000000000000000000.0", 0.25: "0.25",
		1e-7: "1e-07", math.Copysign(0, -1): "-0.0", -1.5e300: "-1.5e+300",
	} {
		body, err := EncodeBody(f)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(AppendBodyJSON(nil, body)); got != want {
			t.Errorf("AppendBodyJSON(%g) = %s, want %s", f, got, want)
		}
	}
}

func TestBodyHasOneFormWhateverItCameIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := bodyValues(3).Draw(t, "value")
		want, err := EncodeBody(v)
		if err != nil {
			t.Fatalf("EncodeBody: %v", err)
		}
		if end := canonicalEnd(want, 0, 0); end != len(want) {
			t.Fatalf("canonicalEnd(%x) = %d, want %d", want, end, len(want))
		}
		check := func(how string, got []byte, err error) {
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s = %x, %v, want %x", how, got, err, want)
			}
		}
		got, err := CanonicalJSON(nil, looseJSON(t, nil, v), MaxFrame)
		check("loose JSON", got, err)
		loose := looseMsgpack(t, nil, v)
		got, err = CanonicalMsgpack(nil, loose, MaxFrame)
		check("loose msgpack", got, err)
		got, err = CanonicalMsgpack(nil, want, MaxFrame)
		check("canonical msgpack", got, err)
		got, err = CanonicalJSON(nil, AppendBodyJSON(nil, want), MaxFrame)
		check("JSON again", got, err)
		value, err := BodyValue(want)
		if err != nil {
			t.Fatalf("BodyValue: %v", err)
		}
		got, err = EncodeBody(value)
		check("Go value again", got, err)
		if end := skipMsgpack(loose, 0); end != len(loose) {
			t.Fatalf("skipMsgpack(%x) = %d, want %d", loose, end, len(loose))
		}
	})
}

func TestEncodeBodyOfAnyGoType(t *testing.T) {
	type inner struct {
		Name string `json:"name"`
		Data []byte `json:"data"`
	}
	body, err := EncodeBody(map[string]any{"n": 7, "s": inner{"x", []byte("ab")}, "u": uint8(3), "f": float32(0.5), "l": []int{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"f":0.5,"l":[1,2],"n":7,"s":{"data":"YWI=","name":"x"},"u":3}`
	if got := string(AppendBodyJSON(nil, body)); got != want {
		t.Errorf("EncodeBody = %s, want %s", got, want)
	}
	var back struct {
		S inner   `json:"s"`
		F float64 `json:"f"`
	}
	if err := DecodeBody(body, &back); err != nil || !reflect.DeepEqual(back.S, inner{"x", []byte("ab")}) || back.F != 0.5 {
		t.Errorf("DecodeBody = %+v, %v", back, err)
	}
	for name, v := range map[string]any{
		"func": func() {}, "NaN": math.NaN(), "huge": uint64(math.MaxUint64), "text": "\xff", "key": map[string]any{"\xff": 1},
		"bin map": map[string]any{"$bin": "x"}, "size": strings.Repeat("x", MaxFrame),
	} {
		if b, err := EncodeBody(v); err == nil {
			t.Errorf("EncodeBody(%s) = %x, want an error", name, b)
		}
	}
	loop := map[string]any{}
	loop["loop"] = loop
	if _, err := EncodeBody(loop); err != error(errBodyDepth) {
		t.Errorf("EncodeBody of a value in itself = %v, want %v", err, errBodyDepth)
	}
}

func TestDecodeBodyFillsBytesFromBinary(t *testing.T) {
	body, err := EncodeBody(map[string]any{"raw": []byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Raw []byte }
	if err := DecodeBody(body, &v); err != nil || !bytes.Equal(v.Raw, []byte{1, 2, 3}) {
		t.Errorf("DecodeBody = %+v, %v", v, err)
	}
}
