package intake

import (
	"regexp/syntax"
	"strconv"
	"sync"

	"github.com/nyaruka/phonenumbers"
)

// plan is what the numbers of one country calling code have in common, from the library's own metadata: enough to know most
// numbers that are written in full without its dozen regular expressions, which took a fifth of the time of an accept.
type plan struct {
	assigned bool     // the code is one
	lengths  uint32   // bit n: n digits after the code are possible
	prefixed [10]bool // the digits with which a prefix may begin that is dialled inside the country and would be cut off
}

// plans are those of the codes 1 to 999.
//
//nolint:gochecknoglobals // a constant that Go cannot spell
var plans = sync.OnceValue(readPlans)

// plain tells whether the library would take digits for a possible number as it stands. False means only that it must be asked.
func plain(digits string) bool {
	code := 0
	for i := 0; i < 3 && i < len(digits) && digits[0] != '0'; i++ { // no code begins with a zero, none is the beginning of another
		code = code*10 + int(digits[i]-'0')
		p := &plans()[code]
		if !p.assigned {
			continue
		}
		rest := digits[i+1:]
		// A leading zero is part of the number in some countries and not in others.
		return len(rest) > 0 && len(rest) < 32 && rest[0] != '0' && p.lengths&(1<<len(rest)) != 0 && !p.prefixed[rest[0]-'0']
	}
	return false
}

func readPlans() []plan {
	all := make([]plan, 1000)
	territories, err := phonenumbers.MetadataCollection()
	if err != nil {
		return all // the library is asked about each number
	}
	for _, territory := range territories.GetMetadata() {
		code := int(territory.GetCountryCode())
		if code <= 0 || code >= len(all) {
			continue
		}
		p := &all[code]
		p.assigned = true
		// Where countries share a code, the library goes by the main one. The others of the world are called 001.
		if territory.GetId() != phonenumbers.GetRegionCodeForCountryCode(code) {
			continue
		}
		general := territory.GetGeneralDesc()
		if general.GetNationalNumberPattern() == "" {
			continue
		}
		for _, n := range append(general.GetPossibleLength(), general.GetPossibleLengthLocalOnly()...) {
			if n > 1 && n <= 17 { // the library's bounds of any number
				p.lengths |= 1 << n
			}
		}
		p.prefixed = beginnings(territory.GetNationalPrefixForParsing())
	}
	return all
}

// beginnings are the digits with which a match of pattern at the start of a text may begin; all of them if it may be empty.
func beginnings(pattern string) (digits [10]bool) {
	if pattern == "" {
		return digits
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err == nil {
		var program *syntax.Prog
		if program, err = syntax.Compile(tree.Simplify()); err == nil {
			for d := range digits {
				digits[d] = mayBegin(program, program.Start, rune(strconv.Itoa(d)[0]), map[int]bool{})
			}
			return digits
		}
	}
	for d := range digits {
		digits[d] = true
	}
	return digits
}

// mayBegin tells whether the program from this instruction on can match a text that begins with r, or an empty one.
func mayBegin(program *syntax.Prog, at int, r rune, seen map[int]bool) bool {
	if seen[at] {
		return false
	}
	seen[at] = true
	switch in := &program.Inst[at]; in.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return mayBegin(program, int(in.Out), r, seen) || mayBegin(program, int(in.Arg), r, seen)
	case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
		return mayBegin(program, int(in.Out), r, seen)
	case syntax.InstMatch:
		return true
	case syntax.InstFail:
		return false
	default:
		return in.MatchRune(r)
	}
}
