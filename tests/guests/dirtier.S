# A guest of forty instructions, booted by QEMU's multiboot loader in protected mode: it counts the
# rounds in which it has written one word into each of PAGES pages, and rests a little after each.
# What a test may read from outside:
#   0x200000  rounds finished (one word)
#   0x400000  PAGES pages, each with the number of the round that wrote it last
# Pages per round and rest are read from 0x200010 and 0x200014 in every round; a test may change them
# in the file behind guest RAM.
        .set    PAGES, 256
        .set    COUNTER, 0x200000
        .set    WORK, 0x400000

        .section .multiboot, "a"
        .align  4
        .long   0x1badb002              # magic
        .long   0                       # flags
        .long   -0x1badb002             # checksum

        .text
        .globl  _start
_start:
        movl    $PAGES, COUNTER + 0x10
        movl    $20000, COUNTER + 0x14
        xorl    %eax, %eax
round:
        incl    %eax
        movl    $WORK, %edi
        movl    COUNTER + 0x10, %ecx
page:
        movl    %eax, (%edi)
        movl    %eax, 0x7fc(%edi)       # and one in the middle: sub-page deltas have two lines
        addl    $4096, %edi
        loop    page
        movl    %eax, COUNTER
        movl    COUNTER + 0x14, %ecx
rest:
        pause
        loop    rest
        jmp     round
