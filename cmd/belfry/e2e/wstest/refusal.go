package wstest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// argsOf returns the fields of each op, as docs/protocol.md lists them.
var argsOf = sync.OnceValue(func() map[string]string {
	b, err := os.ReadFile(InRepo("docs", "protocol.md"))
	if err != nil {
		panic(err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if cells := strings.Split(line, " | "); len(cells) == 3 && strings.HasPrefix(line, "| `") {
			for _, op := range backticked.FindAllString(cells[0], -1) {
				fields[strings.Trim(op, "`")] = cells[1]
			}
		}
	}
	return fields
})

var backticked = regexp.MustCompile("`[a-zA-Z]+`")

// reasonsOfHooks are the reasons with which tests let message.beforeSend refuse a
// message. Such a refusal has no other text.
var reasonsOfHooks = []string{"mind your words", "no"}

// namesFieldOf reports whether the message of a refusal begins with a field of its
// op, with op or with id.
func namesFieldOf(op string, sent Obj, message string) bool {
	field, _, ok := strings.Cut(message, ": ")
	args, known := argsOf()[op]
	_, given := sent[field]
	return ok && (given || field == "op" || field == "id" || !known || field == "args" || strings.Contains(args, "`"+field+"`") || strings.Contains(args, "`"+field+"?`")) ||
		slices.Contains(reasonsOfHooks, message)
}
