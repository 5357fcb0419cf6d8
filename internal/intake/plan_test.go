package intake

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
)

// What is taken without asking the library is what the library would have taken, unchanged: codes with every digit after
// them, at many lengths, and what begins with zeros.
func TestPlainNumbersAreTheLibrarys(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) // the same numbers each time
	known := 0
	for beginning := range 10_000 {
		digits := strconv.Itoa(beginning)
		if beginning%10 == 9 {
			digits = "0" + digits
		}
		for range random.IntN(4) { // most of them, at every length in the long run
			digits += strconv.Itoa(random.IntN(10))
		}
		for length := len(digits); length <= 18; length++ {
			if random.IntN(3) == 0 && plain(digits) {
				known++
				if to, ok := e164(digits); !ok || to != digits {
					t.Fatalf("%s is taken as it is, the library gives %q, %t", digits, to, ok)
				}
			}
			digits += strconv.Itoa(random.IntN(10))
		}
	}
	if known < 5_000 {
		t.Errorf("only %d numbers were known without the library", known)
	}
}

// The library's example of a mobile phone is what most messages go to. Those that it must be asked about are in countries where a
// prefix of the country begins like a number.
func TestMostMobileNumbersArePlain(t *testing.T) {
	t.Parallel()
	regions, asked := 0, []string{}
	for region := range phonenumbers.GetSupportedRegions() {
		example := phonenumbers.GetExampleNumberForType(region, phonenumbers.MOBILE)
		if example == nil {
			continue
		}
		digits := strings.TrimPrefix(phonenumbers.Format(example, phonenumbers.E164), "+")
		regions++
		if !plain(digits) {
			asked = append(asked, region)
		}
	}
	if len(asked)*4 > regions {
		t.Errorf("of %d countries the library must be asked in %d: %v", regions, len(asked), asked)
	}
	t.Logf("the library is asked in %v", asked)
}

func BenchmarkParseRecipient(b *testing.B) {
	for name, number := range map[string]string{"plain": "4915112345678", "asked": "5491123456789"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := ParseRecipient(number); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
