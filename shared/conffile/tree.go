package conffile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on a file. The parser is recursive, so depth is bounded before it runs.
const (
	MaxSize   = 1 << 20 // bytes
	maxLine   = 8 << 10 // bytes
	maxIndent = 256     // columns
	maxDepth  = 256     // open brackets
)

type kind uint8

const (
	kindNull   kind = iota // a key without a value
	kindScalar             // text
	kindList
	kindTable
)

func (k kind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a table of keys"}[k]
}

// node is a value of the file with its line, freed from the parser's types.
type node struct {
	kind  kind
	text  string // scalar: its text, unquoted
	line  int
	items []*node
	pairs []pair
}

type pair struct {
	key   string
	line  int
	value *node
}

// grow turns the bytes of a file into a tree. A fault of syntax ends it; the others are collected.
func grow(data []byte) (root *node, faults Faults) {
	if f, ok := screen(data); !ok {
		return nil, Faults{f}
	}
	file, err := parse(data)
	if err != nil {
		return nil, Faults{syntaxFault(err)}
	}
	g := &grower{}
	docs := 0
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if docs++; docs > 1 {
			g.fault(lineOf(doc.Body), "", "a second document in one file", "keep one, without ---")
			break
		}
		root = g.node("", doc.Body)
	}
	if root == nil {
		root = &node{kind: kindNull, line: 1}
	}
	return root, g.faults
}

// screen checks the bounds and that the file is text.
func screen(data []byte) (Fault, bool) {
	if len(data) > MaxSize {
		return Bad("", fmt.Sprintf("file is larger than %d bytes", MaxSize), "make it smaller"), false
	}
	depth := 0
	for i, line := range strings.Split(string(data), "\n") {
		bad := func(problem, remedy string) (Fault, bool) {
			return Fault{Line: i + 1, Problem: problem, Remedy: remedy}, false
		}
		if len(line) > maxLine {
			return bad(fmt.Sprintf("line is longer than %d bytes", maxLine), "break it")
		}
		text := strings.TrimLeft(line, " ")
		switch {
		case strings.HasPrefix(text, "\t"):
			return bad("a tab in the indentation", "use spaces")
		case len(line)-len(text) > maxIndent:
			return bad("indented too far", fmt.Sprintf("use at most %d columns", maxIndent))
		case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' || r == 0xfffd }):
			return bad("a byte that is not text", "save the file as UTF-8")
		}
		opened := strings.Count(text, "[") + strings.Count(text, "{") + strings.Count(text, "- ") + strings.Count(text, "? ")
		closed := strings.Count(text, "]") + strings.Count(text, "}") + strings.Count(text, "- ") + strings.Count(text, "? ")
		if depth+opened > maxDepth {
			return bad("too many brackets or dashes are open", "close them")
		}
		depth = max(0, depth+opened-closed)
	}
	return Fault{}, true
}

// parse calls the YAML parser; a panic inside it is a fault of the file as far as the operator can tell.
func parse(data []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("not understood by the YAML parser")
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

func syntaxFault(err error) Fault {
	f := Fault{Problem: "not YAML", Remedy: "correct the syntax"}
	var e yaml.Error
	if errors.As(err, &e) {
		f.Problem = "not YAML: " + e.GetMessage()
		if tk := e.GetToken(); tk != nil && tk.Position != nil {
			f.Line = tk.Position.Line
		}
		return f
	}
	f.Problem = "not YAML: " + strings.SplitN(err.Error(), "\n", 2)[0]
	return f
}

// grower turns the parser's tree into ours.
type grower struct{ faults Faults }

func (g *grower) fault(line int, key, problem, remedy string) {
	g.faults = append(g.faults, Fault{Line: line, Key: key, Problem: problem, Remedy: remedy})
}

// node converts one value; path is its key path. What can't stand in our files becomes a fault and a nil node.
func (g *grower) node(path string, n ast.Node) *node {
	out := &node{line: lineOf(n)}
	switch n := n.(type) {
	case *ast.NullNode:
		out.kind = kindNull
	case *ast.StringNode:
		out.kind, out.text = kindScalar, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = kindScalar, n.Value.Value
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		// The text as written: an extension 0100 stays 0100.
		out.kind, out.text = kindScalar, n.GetToken().Value
	case *ast.SequenceNode:
		out.kind = kindList
		for i, v := range n.Values {
			if item := g.node(joinIndex(path, i), v); item != nil {
				out.items = append(out.items, item)
			}
		}
	case *ast.MappingNode:
		out.kind = kindTable
		g.pairs(path, out, n.Values)
	case *ast.MappingValueNode:
		out.kind = kindTable
		g.pairs(path, out, []*ast.MappingValueNode{n})
	default:
		g.fault(out.line, path, "YAML anchors, aliases and tags are not used here", "write the value itself")
		return nil
	}
	return out
}

func (g *grower) pairs(path string, out *node, values []*ast.MappingValueNode) {
	seen := map[string]int{}
	for _, mv := range values {
		line := lineOf(mv.Key)
		key, ok := keyText(mv.Key)
		if !ok {
			g.fault(line, path, "a key that is not plain text", "write a name followed by a colon")
			continue
		}
		at := joinName(path, key)
		if first, dup := seen[key]; dup {
			g.fault(line, at, fmt.Sprintf("given twice, first in line %d", first), "keep one")
			continue
		}
		seen[key] = line
		if v := g.node(at, mv.Value); v != nil {
			out.pairs = append(out.pairs, pair{key: key, line: line, value: v})
		}
	}
}

func keyText(k ast.MapKeyNode) (string, bool) {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return k.GetToken().Value, true
	}
	return "", false
}

func lineOf(n ast.Node) int {
	var tk *token.Token
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		tk = m.Values[0].Key.GetToken()
	} else {
		tk = n.GetToken()
	}
	if tk == nil || tk.Position == nil {
		return 0
	}
	return tk.Position.Line
}
