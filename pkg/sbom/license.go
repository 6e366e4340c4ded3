package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/google/osv-scalibr/converter/spdx"
)

// maxExpression is the longest licence that is taken for an expression, in bytes.
const maxExpression = 1024

// license is what a package declares, as an expression of SPDX (specification 2.3, annex D).
type license struct {
	// expression is "" if nothing is declared.
	expression string
	// others are the texts of the references in it to what is no licence of SPDX's list, by
	// identifier.
	others map[string]string
}

// parseLicense makes an expression of what a package says. Names that SPDX does not have become
// references, and so does the whole if it is no expression.
func parseLicense(raw string) license {
	switch strings.ToUpper(raw) {
	case "", "NONE", "NOASSERTION", "UNKNOWN":
		return license{}
	}
	p := &licenseParser{words: licenseWords(raw), others: map[string]string{}}
	if len(raw) <= maxExpression && p.expression() && len(p.words) == 0 {
		return license{expression: strings.Join(p.out, ""), others: p.others}
	}
	id := licenseRef(raw)
	return license{expression: id, others: map[string]string{id: raw}}
}

// licenseWords splits an expression into words and parentheses.
func licenseWords(s string) []string {
	return strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(s))
}

// licenseParser takes words from the front and appends the parts of an expression to out.
type licenseParser struct {
	words  []string
	out    []string
	others map[string]string
}

// take removes the next word if it is w, whatever its case.
func (p *licenseParser) take(w string) bool {
	if len(p.words) == 0 || !strings.EqualFold(p.words[0], w) {
		return false
	}
	p.words = p.words[1:]
	return true
}

// expression is a term, or several with operators between.
func (p *licenseParser) expression() bool {
	for {
		if !p.term() {
			return false
		}
		switch {
		case p.take("AND"):
			p.out = append(p.out, " AND ")
		case p.take("OR"):
			p.out = append(p.out, " OR ")
		default:
			return true
		}
	}
}

// term is a licence, perhaps with an exception, or an expression in parentheses.
func (p *licenseParser) term() bool {
	if p.take("(") {
		p.out = append(p.out, "(")
		ok := p.expression() && p.take(")")
		p.out = append(p.out, ")")
		return ok
	}
	if len(p.words) == 0 || isOperator(p.words[0]) {
		return false
	}
	name := p.words[0]
	p.words = p.words[1:]
	id, known := licenseID(name)
	if !known {
		id = licenseRef(name)
		p.others[id] = name
	}
	p.out = append(p.out, id)
	if !p.take("WITH") {
		return true
	}
	// There is no list of exceptions here, but all of them but a few are called so.
	if len(p.words) == 0 || !known || !strings.Contains(strings.ToLower(p.words[0]), "exception") || !isIdentifier(p.words[0]) {
		return false
	}
	p.out = append(p.out, " WITH ", p.words[0])
	p.words = p.words[1:]
	return true
}

func isOperator(w string) bool {
	switch strings.ToUpper(w) {
	case "(", ")", "AND", "OR", "WITH":
		return true
	}
	return false
}

// licenseID is the identifier of a licence of SPDX's list, in whatever case it is written.
func licenseID(name string) (string, bool) {
	quiet()
	if id, ok := spdx.ShortIdentifier(name); ok && strings.EqualFold(id, name) {
		return id, true
	}
	base, orLater := strings.CutSuffix(name, "+")
	if id, ok := spdx.ShortIdentifier(base); ok && orLater && strings.EqualFold(id, base) {
		return id + "+", true
	}
	return "", false
}

// licenseRef is an identifier for what is not in SPDX's list.
func licenseRef(text string) string {
	if strings.HasPrefix(text, "LicenseRef-") && isIdentifier(text) {
		return text
	}
	if isIdentifier(text) && len(text) <= 64 {
		return "LicenseRef-" + text
	}
	sum := sha256.Sum256([]byte(text))
	return "LicenseRef-" + hex.EncodeToString(sum[:8])
}

// isIdentifier reports whether s may be part of an SPDX identifier as it is.
func isIdentifier(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}
