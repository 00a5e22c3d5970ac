package protocol

import "testing"

func TestObjectMembers(t *testing.T) {
	for text, wrong := range map[string]string{
		`{}`:                             "",
		` {"a":1,"b":{"a":[2]}} ` + "\n": "",
		`{"a":1,"A":2}`:                  "",
		`{"a":1,"a":1}`:                  "a: stands there twice",
		`{"a":1,"\u0061":1}`:             "a: stands there twice",
		``:                               "must be one JSON object",
		`null`:                           "must be one JSON object",
		`[]`:                             "must be one JSON object",
		`"a"`:                            "must be one JSON object",
		`{"a":1`:                         "must be one JSON object",
		`{"a"}`:                          "must be one JSON object",
		`{"a":}`:                         "must be one JSON object",
		`{"a":1,}`:                       "must be one JSON object",
		`{"a":1}{}`:                      "must be one JSON object",
		`{"a":1} x`:                      "must be one JSON object",
		`{1:1}`:                          "must be one JSON object",
	} {
		members, err := ObjectMembers([]byte(text))
		if wrong == "" && (err != nil || members == nil) || wrong != "" && (err == nil || err.Error() != wrong) {
			t.Errorf("ObjectMembers(%s): %v, want %q", text, err, wrong)
		}
	}
	members, err := ObjectMembers([]byte(`{"n":1.0,"t":5,"l":{},"b":"x","Sub":"y","null":null}`))
	if err != nil {
		t.Fatal(err)
	}
	n, s, l, b := int64(7), "s", []string{"l"}, true
	for want, err := range map[string]error{
		"n: must be written as an integer": ReadMember(members, "n", &n),
		"t: must be text":                  ReadMember(members, "t", &s),
		"l: must be a list of text":        ReadMember(members, "l", &l),
		"b: must be true or false":         ReadMember(members, "b", &b),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("ReadMember: %v, want %s", err, want)
		}
	}
	if err := ReadMember(members, "sub", &s); err != nil || s != "s" {
		t.Errorf("a member that is not there: %v, %q", err, s)
	}
	if err := ReadMember(members, "null", &s); err != nil || s != "s" || len(members) != 1 {
		t.Errorf("null: %v, %q, %v left", err, s, members)
	}
}
