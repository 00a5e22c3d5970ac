package command

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/codec"
)

// TestEveryLimitHasATag demands one for each field, and that no two share one.
func TestEveryLimitHasATag(t *testing.T) {
	var l Limits
	v := reflect.ValueOf(&l).Elem()
	all := l.all()
	for i := range v.NumField() {
		found := false
		for _, limit := range all {
			found = found || v.Field(i).Addr().Interface() == any(limit.duration) || v.Field(i).Addr().Interface() == any(limit.number)
		}
		if !found {
			t.Errorf("Limits.%s has no tag", v.Type().Field(i).Name)
		}
	}
	for i := range all {
		if i > 0 && all[i].tag <= all[i-1].tag {
			t.Errorf("tag %d comes after %d", all[i].tag, all[i-1].tag)
		}
	}
}

func TestLimitsOfOtherPrograms(t *testing.T) {
	read := func(values ...int64) (l Limits, err error) {
		l = Limits{Recents: 7} // what was there before leaves no trace
		b := codec.AppendUint(nil, uint64(len(values)/2))
		for i := 0; i < len(values); i += 2 {
			b = codec.AppendInt(codec.AppendUint(b, uint64(values[i])), values[i+1])
		}
		x := codec.NewReader(b)
		l.Fields(&x)
		return l, x.End()
	}
	if l, err := read(1, int64(time.Hour), 5, 1000); err != nil || l != (Limits{OfflineTTL: time.Hour, UserBytes: 1000}) {
		t.Errorf("two limits are read as %+v, %v", l, err)
	}
	for _, values := range [][]int64{{1, 5, 400, 1}, {400, 1}, {5, 1, 5, 1}, {5, 1, 4, 1}} {
		_, err := read(values...)
		if !errors.Is(err, codec.ErrMalformed) || !strings.Contains(err.Error(), "limit ") {
			t.Errorf("limits %v: %v, want an error that names one", values, err)
		}
	}
}
