package strictjson_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/httpapi/strictjson"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]float64{"0": 0, " 1 ": 1, "-1.5e2": -150, "0.30": 0.3, "1E+2": 100} {
		got, err := strictjson.NewDecoder(strings.NewReader(given+"\n"), 16).Float()
		if err != nil || got != want {
			t.Errorf("%q is %v, %v", given, got, err)
		}
	}
	for given, want := range map[string]strictjson.Kind{
		`"1"`: strictjson.WrongType, `null`: strictjson.WrongType, `1e999 `: strictjson.WrongType, `01 `: strictjson.Syntax, `1. `: strictjson.Syntax, `- `: strictjson.Syntax,
		`+1`: strictjson.Syntax, `1`: strictjson.Syntax, strings.Repeat("1", 65) + " ": strictjson.TooLong,
	} {
		_, err := strictjson.NewDecoder(strings.NewReader(given), 16).Float()
		if e, ok := errors.AsType[*strictjson.Error](err); !ok || e.Kind != want {
			t.Errorf("%q: %v", given, err)
		}
	}
}

func TestScalars(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{`"a\n"`: "a\n", `""`: "", `true`: "true", `false`: "false", `1.50,`: "1.50", `-0 `: "-0", `12345678901234567890 `: "12345678901234567890"} {
		got, null, err := strictjson.NewDecoder(strings.NewReader(given), 16).Scalar(64)
		if err != nil || null || got != want {
			t.Errorf("%q is %q, %t, %v", given, got, null, err)
		}
	}
	if _, null, err := strictjson.NewDecoder(strings.NewReader(`null`), 16).Scalar(64); err != nil || !null {
		t.Errorf("null: %t, %v", null, err)
	}
	for given, want := range map[string]strictjson.Kind{`{}`: strictjson.WrongType, `[1]`: strictjson.WrongType, `trux`: strictjson.Syntax, `"abc"`: strictjson.TooLong, `}`: strictjson.Syntax} {
		_, _, err := strictjson.NewDecoder(strings.NewReader(given), 16).Scalar(2)
		if e, ok := errors.AsType[*strictjson.Error](err); !ok || e.Kind != want {
			t.Errorf("%q: %v", given, err)
		}
	}
}
