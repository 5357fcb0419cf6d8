package intake_test

import (
	"strings"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/intake"
)

func TestParseRecipient(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"4915112345678":            "4915112345678",
		"+4915112345678":           "4915112345678",
		"+49 151 12345678":         "4915112345678",
		"+49 (0)151-1234-5678":     "4915112345678", // the zero is for callers inside the country
		"(+49) 151":                "",
		" 00 49 151 12345678 ":     "4915112345678",
		"+49\u00a0151\u00a0123456": "49151123456",
		"+1 (555) 010-9999":        "15550109999", // possible, although nobody has it
		"+55.11.98765.4321":        "5511987654321",
		"919876543210":             "919876543210",

		"4915112345678@s.whatsapp.net":  "4915112345678@s.whatsapp.net",
		"123456789012345@lid":           "123456789012345@lid",
		"120363000000000001@g.us":       "120363000000000001@g.us",
		"4915112345678-1612345678@g.us": "4915112345678-1612345678@g.us",

		"": "", " ": "", "+": "", "00": "", "0": "", "hello": "", "+49151x": "", "+49 151 12345678 ext. 5": "",
		"015112345678": "", "+999123456789": "", "+49": "", "123": "", "+491511234567890123456789": "", "++4915112345678": "",
		"49151123４5678": "", "+49151\n12345678": "", "4915112345678,4915112345679": "",

		"@s.whatsapp.net": "", "4915112345678@": "", "4915112345678@c.us": "", "4915112345678@S.WHATSAPP.NET": "",
		"4915112345678:3@s.whatsapp.net": "", "4915112345678.0:3@lid": "", "+4915112345678@s.whatsapp.net": "", "abc@g.us": "",
		"4915112345678@s.whatsapp.net@lid": "", "-1612345678@g.us": "", "4915112345678-@g.us": "", "status@broadcast": "",
		"1234@lid": "", "123456789012345678901@lid": "", "12 345@lid": "", "a@evil.example": "",
		strings.Repeat("1", 65): "",
	} {
		got, err := intake.ParseRecipient(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q was taken for %q", in, got)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q gave %q, %v; want %q", in, got, err, want)
		}
	}
}

// What is accepted has the one form that the rest of the hub relies on, and is accepted again as it is.
func FuzzParseRecipient(f *testing.F) {
	for _, seed := range []string{"+49 151 12345678", "0049 151 12345678", "1@lid", "120363000000000001@g.us", "a@b", "+1 (555) 010-9999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		to, err := intake.ParseRecipient(in)
		if err != nil {
			return
		}
		again, err := intake.ParseRecipient(to)
		if err != nil || again != to {
			t.Fatalf("%q gave %q, and that %q, %v", in, to, again, err)
		}
		user, server, jid := strings.Cut(to, "@")
		if jid && server != gateway.ServerUser && server != gateway.ServerLID && server != gateway.ServerGroup {
			t.Fatalf("%q gave %q", in, to)
		}
		for _, r := range strings.Replace(user, "-", "", 1) {
			if r < '0' || r > '9' {
				t.Fatalf("%q gave %q", in, to)
			}
		}
		if !jid && strings.Contains(user, "-") || user == "" {
			t.Fatalf("%q gave %q", in, to)
		}
	})
}
