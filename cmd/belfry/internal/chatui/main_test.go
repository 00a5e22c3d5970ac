package chatui

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
