# Makes the C source of sa_common_passwords of conf/common-passwords.txt, whose lines are sorted.
BEGIN {
    print "/* Made by conf/words2c.awk. */"
    print "#include \"core/password_policy.h\"\n"
    print "static const char text[] ="
}
/^# / || /^$/ { next }
{
    gsub(/\\/, "\\\\")
    gsub(/"/, "\\\"")
    printf "    \"%s\\n\"\n", $0
}
END {
    print "    ;\n"
    print "const sa_common_passwords_t sa_common_passwords = { text, sizeof(text) - 1 };"
}
