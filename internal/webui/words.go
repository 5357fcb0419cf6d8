package webui

import (
	"fmt"
	"strconv"
	"strings"
)

// person is a recipient as people read it: a number with its plus.
func person(to string) string {
	if to == "" || strings.Trim(to, "0123456789") != "" {
		return to
	}
	return "+" + to
}

// duration writes seconds as people say them: "20 seconds", "3 minutes", "2 hours". It takes int, int64 or a pointer to int.
func duration(given any) (string, error) {
	var seconds int64
	switch n := given.(type) {
	case int:
		seconds = int64(n)
	case int64:
		seconds = n
	case *int:
		if n != nil {
			seconds = int64(*n)
		}
	default:
		return "", fmt.Errorf("duration of %T", given)
	}
	for _, unit := range []struct {
		seconds int64
		name    string
	}{{24 * 3600, "day"}, {3600, "hour"}, {60, "minute"}} {
		if seconds >= 2*unit.seconds {
			return plural(seconds/unit.seconds, unit.name), nil
		}
	}
	return plural(seconds, "second"), nil
}

// age is a duration that need not be told to the second.
func age(seconds int64) (string, error) {
	if seconds < 60 {
		return "less than a minute", nil
	}
	return duration(seconds)
}

func plural(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.FormatInt(n, 10) + " " + unit + "s"
}

// many counts things: "1 row", "2 000 rows".
func many(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', -1, 64) + " %" }

// byteSize writes bytes in the unit that suits them.
func byteSize(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return plural(n, "byte")
}

// minutes writes seconds as the minutes of a number field.
func minutes(seconds int64) string { return strconv.FormatFloat(float64(seconds)/60, 'f', -1, 64) }
